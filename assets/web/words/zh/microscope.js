// Chinese: the round microscope.
import { number } from "../../lib/numbers.js";
import { count, exact, shifts } from "../counts.js";
import { arm as armOf } from "./charts.js";

const ms = (value) => `${number(1000 * value, 1)} 毫秒`;
const coin = ({ theta, chi, u }) => `u ${number(u)} ${chi ? "<" : "≥"} θ ${number(theta)}：χ = ${chi}`;
const terms = (own) =>
  Object.entries(own)
    .map(([name, value]) => `${name} ${count(value)}`)
    .join("，");
const decision = (own) => (Number.isFinite(own.theta) && Number.isFinite(own.u) ? coin(own) : terms(own));
const NUMBERS = { length: "长度", threshold: "阈值", wanted: "目标接受率", bound: "界", factor: "系数", width: "宽度", limit: "上限", rate: "接受率" };

export const microscope = {
  title: "单轮显微镜",
  pick: "点击一个词元或一根柱子，或让它跟随播放位置。",
  empty: "还没有轮。",
  notSaid: "没有说明。",
  follow: "跟随播放位置",
  go: "跳到第几轮",
  round: (round) => `第 ${round} 轮`,
  steps: ["抽取", "起草", "停止", "验证", "接受或拒绝", "学习"],

  tree: {
    label: "本轮草稿构成的树：第一行是主干，分支在其下方，被接受的路径带勾",
    prices: "验证一行、两行直到本树所有行所需的实测时间",
    pass: (rows, seconds) => `${rows} 行：${ms(seconds)}`,
    most: (seconds) => ms(seconds),
    price: (rows, beside, seconds, hits) => `共 ${rows} 行的树，其中 ${beside} 行在主干之外：比只验证主干多花 ${ms(seconds)}；其中 ${hits} 个被接受。`,
  },

  draw: {
    note: "本轮之前控制器的信念：下一个草稿有多大可能被接受？",
    mean: (alpha, beta) => `均值 α / (α + β) = ${count(alpha)} / ${count(alpha + beta)} = ${number(alpha / (alpha + beta))}`,
    drawn: (values) => `抽到的 θ：${values.map((value) => number(value)).join("，")}`,
    arm: ({ label, alpha, beta }) => `${armOf(label)}：Beta(${count(alpha)}, ${count(beta)})，均值 ${number(alpha / (alpha + beta))}`,
    fixed: (length) => `每轮 k = ${length}；不抽取`,
    number: (name, value) => `${NUMBERS[name] ?? name} ${count(value)}`,
    none: "这个控制器不抽取随机数。",
  },
  draft: {
    note: "q：起草器给该词元的概率；H：它的熵（奈特）。",
    time: (time, drafts) => `${ms(time)} / ${drafts} = 每个草稿 ${ms(time / drafts)}`,
    none: "没有起草。",
  },
  stop: {
    note: "每个草稿之后：继续，还是停？",
    token: (own, decided) => [decision(own), decided].filter(Boolean).join("，"),
    reason: {
      controller: "控制器说停。",
      limit: "已达每轮草稿上限。",
      length: "文本已达长度上限。",
      eos: "草稿写到了文本结尾。",
      stop: "草稿遇到停止文本。",
      none: "没有起草。",
    },
  },
  verify: {
    shared: "其余各层一次检查所有猜测。",
    whole: "所有层一次检查所有猜测。",
    note: "p：目标模型给草稿的概率；差距：目标模型自己的选择领先多少。",
    token: ({ target, margin }) => `p ${number(target, 3)}   差距 ${number(margin)}`,
    untested: "未评判：在被拒绝的词元之后",
    time: (time, drafts) => `T(k + 1) = T(${drafts + 1}) = ${ms(time)}，一次完成`,
  },
  accept: {
    notes: {
      greedy: "贪心：草稿若是目标模型最可能的词元，就被接受。",
      "shared-noise": "共享噪声：目标模型与起草器用同样的随机数选择；若选中同一个词元，草稿被接受。",
      rejection: "拒绝采样：草稿以概率 min(1, p / q) 被接受，使文本保持目标模型的分布。",
    },
    same: "目标模型选择相同：接受",
    other: "目标模型另有选择：拒绝",
    untested: "未检验",
    chance: ({ p, q, chance, u }) =>
      `min(1, ${number(p, 3)} / ${number(q, 3)}) = ${number(chance)}，u ${number(u)} ${u < chance ? "<" : "≥"} ${number(chance)}：${u < chance ? "接受" : "拒绝"}`,
    next: { correction: (p) => `改用目标模型自己的词元，p ${number(p, 3)}`, bonus: (p) => `目标模型再多写一个词元，p ${number(p, 3)}` },
    end: "文本到此结束。",
  },
  learn: {
    note: "接受的草稿加到 α，被拒绝的加到 β，未检验的都不加。",
    alpha: (before, accepted, after) => `α = ${count(before)} + ${accepted} 个接受 = ${count(after)}`,
    beta: (before, rejected, after) => `β = ${count(before)} + ${rejected} 个拒绝 = ${count(after)}`,
    moved: (name, before, after) => `${NUMBERS[name] ?? name}：${exact(before)} → ${exact(after)}`,
    mean: (before, after) => `均值 ${number(before, 3)} → ${number(after, 3)}`,
    arm: (before, after) => `${armOf(before.label)}：${shifts(before, after).join("，")}`,
    nothing: "它的信念没有变化。",
  },

  why: {
    drafting: (drafts) => `目前 ${drafts} 个草稿。`,
    coin: (drafts, { theta, u }) => `${drafts} 个草稿：随后信念给出 θ = ${number(theta)}，而随机数 u = ${number(u)} 不小于它，于是硬币说停。`,
    controller: (drafts, own) => `${drafts} 个草稿：控制器说停${Object.keys(own).length ? `（${terms(own)}）` : ""}。`,
    fixed: (drafts) => `${drafts} 个草稿，每轮固定如此。`,
    limit: (drafts) => `${drafts} 个草稿：已达每轮上限。`,
    length: (drafts) => `${drafts} 个草稿：文本放不下更多了。`,
    eos: (drafts) => `${drafts} 个草稿：最后一个写到了文本结尾。`,
    stop: (drafts) => `${drafts} 个草稿：最后一个补全了停止文本。`,
    none: () => "没有草稿：这一轮就是一个普通解码步。",
    told: (program, drafted, accepted) => `据 ${program}：${drafted} 个草稿，接受了 ${accepted} 个。`,
    right: "事后看，再多一个也许更划算：没有任何草稿被拒绝。",
    wrong: (accepted, wasted) => `事后看，${accepted ? `${accepted} 个最好` : "不起草最好"}：${wasted} 个草稿白费了。`,
    tree: ({ accepted, drafted }) => `这棵树有 ${drafted} 个草稿，其中 ${accepted} 个在目标模型的路径上。`,
  },
};

export const drafter = {
  title: "起草器",
  hint: "它在写作中学到的东西。",
  attention: "注意力",
  feed: "前馈",
  layer: (name, layer, share) => `${name}，第 ${layer} 层：${share === 1 ? "跳过" : share ? `在 ${Math.round(100 * share)}% 的起草步中跳过` : "运行"}`,
  row: (name, shares) => `${name}：${shares.length} 层中跳过 ${shares.filter((share) => share > 0).length} 层`,
  pool: "此处可能接续的短语，最新的在前",
  phrase: (age, hits) => `${age} 轮前，已猜对 ${hits} 个词元`,
  names: {
    ...{ score: "得分", trials: "试验次数", tokens: "表中的词元", keys: "键", phrases: "短语", copying: "正在复制" },
    ...{ drafter: "当前起草器", gains: "收益", first: "首个词元正确", copy: "复制正确", exit: "退出层正确" },
    ...{ promised: "复制预计带来的词元", given: "头的草稿带来的词元" },
  },
};
