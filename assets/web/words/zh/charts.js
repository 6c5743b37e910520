// Chinese: the charts and the lossless panel.
import { number } from "../../lib/numbers.js";

const reasons = { controller: "控制器说停", limit: "已达每轮草稿上限", length: "文本已达长度上限", eos: "草稿写到了文本结尾", stop: "草稿遇到停止文本", none: "没有草稿" };
// Labels of a controller's beliefs: "confidence 0.3 to 0.4", "length 3".
export const arm = (label) => label.replace("confidence", "置信度").replace("certainty", "把握").replace("length", "长度").replace(" to ", " 至 ");

export const why = {
  title: "为什么是这个草稿长度",
  belief: "信念",
  after: "学习之后",
  others: "按情境",
  decisions: "本轮的决定",
  axis: "θ：继续的概率",
  density: "密度 / 峰值",
  mean: (value) => `均值 ${number(value)}`,
  thisDraw: (theta) => `本次抽取 ${number(theta)}`,
  drew: "抽到 θ %{x:.2f}",
  label: ({ alpha, beta }, theta) =>
    `信念 Beta(${number(alpha, 1)}, ${number(beta, 1)})，均值 ${number(alpha / (alpha + beta))}；最近抽到 θ ${number(theta)}。`,
  noCurve: "控制器的信念：还没有曲线。",
  reasons,
  drafts: (spine, siblings) => `${spine} 个草稿${siblings ? `，另有 ${siblings} 个分支` : ""}`,
  headline: (round, drafts, reason) => `第 ${round} 轮：${drafts}${reason ? `，${reasons[reason] ?? reason}` : ""}`,
  fixed: (length) => `固定草稿长度：每轮 ${length} 个词元。这个控制器不学习，所以没有曲线。`,
  none: (controller) => `控制器 ${controller ?? "（无名）"}：它没有 Beta 后验，所以没有曲线。`,
  go: "继续",
  stop: "停",
  ended: { limit: "达上限", length: "文本已满", eos: "文本结束", stop: "停止文本" },
  columns: ["草稿", "θ", "决定"],
};

export const charts = {
  noPlotly: "没有图：本页没有载入 plotly.js。",
  table: "数字",
  tableOf: (title) => `${title}：数字表`,
  round: "轮",
  inRound: (kind) => `第 %{x} 轮：${kind}`,
  someInRound: (kind) => `第 %{x} 轮：%{y} 个${kind}`,

  lengths: {
    title: "草稿长度",
    axis: "草稿数",
    best: "最佳",
    bestHint: "事后看最佳的长度",
    bestHover: "第 %{x} 轮：事后最佳 %{text}",
    atLeast: (drafts) => `${drafts} 或更多`,
    label: (lane) => `草稿长度：${lane.verified} 轮，${lane.drafted} 个草稿，${lane.accepted} 个被接受。`,
    columns: ["轮", "草稿", "接受", "拒绝", "未检验", "随后", "最佳"],
  },
  clock: {
    title: "时钟",
    kinds: { draft: "起草", verify: "验证", overhead: "开销" },
    axis: "各自的计算时钟（秒）",
    rounds: (first, last) => (first === last ? `第 ${first} 轮` : `第 ${first} 至 ${last} 轮`),
    reading: (lane, time) => `${lane} ${number(time)} 秒`,
    label: (readings) => `时钟：${readings.join("，") || "尚无运行"}。`,
    columns: ["赛道", "轮", "开始，毫秒", "起草，毫秒", "验证，毫秒", "开销，毫秒"],
  },
  belief: {
    title: "各轮的信念",
    keys: ["均值", "50 % 与 90 %", "抽取"],
    axis: "接受概率",
    none: "这个控制器没有 Beta 后验",
    disturbed: "草稿被有意弄差",
    hover: "第 %{x} 轮：均值 %{y:.2f}",
    drew: "第 %{x} 轮：抽到 %{y:.2f}",
    label: (rounds, right, wrong, mean) => `${rounds} 轮的信念：${right} 次成功，${wrong} 次失败${Number.isFinite(mean) ? `，当前均值 ${number(mean)}` : ""}。`,
    columns: ["轮", "α", "β", "均值", "90 % 下限", "上限", "成功", "失败"],
  },
  positions: {
    title: "各位置的接受率",
    axis: "在草稿中的位置",
    share: "接受的比例",
    hover: (accepted, tested, last) => `${tested} 个中接受 ${accepted} 个；${last} 轮到此为止`,
    label: (shares) =>
      `各位置的接受率：${
        shares
          .slice(0, 8)
          .map((share, i) => `${i + 1}：${number(100 * share, 0)} %`)
          .join("，") || "尚未检验"
      }。`,
    columns: ["位置", "检验", "接受", "比例", "90 % 下限", "上限", "恰好接受到此的轮"],
    interval: "90 % 区间",
  },
  contexts: {
    title: "不同情境下的信念",
    axes: { confidence: "起草器的置信度", certainty: "起草器的把握：其选择的领先程度" },
    arm,
    share: "接受概率",
    calibrated: "置信度与正确率一致",
    label: (arms) => `${arms.length} 个信念：${arms.map(({ label, alpha, beta }) => `${arm(label)} ${number(alpha / (alpha + beta))}`).join("，")}。`,
    columns: ["情境", "α", "β", "均值", "90 % 下限", "上限"],
  },
  law: {
    title: "加速定律",
    intro: "假如每个草稿都以同样的概率 α 被接受，成本都是 c 个普通解码步，固定草稿长度 k 的加速比。",
    terms: "t：一个普通解码步，T：验证一次，o：每轮的开销；均由本次运行测得。",
    alpha: "接受率 α",
    cost: "草稿成本 c",
    measured: "按实测",
    axis: "草稿长度 k",
    speedup: "加速比",
    even: "与普通解码一样快",
    here: "本次运行",
    hereHover: "本次运行：每轮 %{x:.1f} 个草稿，%{y:.2f}x",
    noRun: "此图需要一次有已验证草稿的运行。",
    best: (k, gain) => (k ? `最佳：每轮 ${k} 个草稿，${number(gain)}x。` : "最佳：完全不起草。接受率和成本如此，推测解码得不偿失。"),
    run: (length, gain) => `本次运行：每轮 ${number(length, 1)} 个草稿，${number(gain)}x。`,
    label: (alpha, cost, text) => `接受率 ${number(alpha)}、草稿成本 ${number(cost)} 时的加速定律。${text}`,
    columns: ["草稿长度", "加速比"],
  },
};

export const lossless = {
  title: "无损吗？",
  promise: {
    "exact-by-construction":
      "构造上保证一致：载入模型时检验过，在这台机器上一次处理 2 到 16 个词元（一轮最多检查这么多）与逐个处理的结果逐比特相同，" +
      "上下文开头与末尾都试过。由此可知两段文本相同。",
    "exact-as-observed": "实测一致：在这里一次处理多个词元的舍入与逐个处理略有不同，两个几乎相等的候选可能互换。所以每次运行都做比较。",
    "same-distribution": "拒绝采样：两段文本各是同一分布的一次抽样。词元可以不同，概率相同；这要用许多次抽样来检验，靠一段文本不行。",
  },
  recorded: (where) => `这是录制（${where}）：下面的保证和“这台机器”指的是录制时的那台机器。`,
  waiting: "两条赛道都完成后给出结论。",
  agree: (tokens) => `目前比较了 ${tokens} 个词元，全部相同。`,
  fork: (token) => `首个不同之处：第 ${token} 个词元。`,
  margin: (value) => `普通解码在该处的前两个候选相差 ${number(value, 4)}（logit 之差）：越接近 0，越小的舍入误差就能让它们互换。`,
  side: (lane, text, chance, margin) =>
    `${lane} 写的是 ${text}${Number.isFinite(chance) ? `，概率 ${number(chance, 3)}` : ""}${Number.isFinite(margin) ? `，差距 ${number(margin, 4)}` : ""}。`,
  candidatesOf: (lane) => `${lane}：目标模型在该处的前几个候选`,
  candidates: ["词元", "概率", "落后（logit）", "写下者"],
  caption: (from, to) => `第 ${from} 至 ${to} 个词元`,
  grid: "两段文本，词元上下对齐",
  earlier: "更早",
  later: "更晚",
  toFork: "到不同处",
  cache: (apart) =>
    apart ? `内部也几乎相同：所有层的键和值最多相差 ${apart.toExponential(1)}。` : "内部也完全相同：所有层的键和值逐比特相等。",
  smallest: (token, margin) => `目前最接近的一次抉择：第 ${token} 个词元，差距 ${number(margin, 4)}。`,
};
