// Chinese: the sandbox.
import { number } from "../../lib/numbers.js";

const thousands = (value) => value.toLocaleString("en-US");

export const sandbox = {
  title: "汤普森采样沙盒",
  lead:
    "目标模型检查之前，该起草多少个词元？四个控制器面对同一段虚构的文本各自作答。设定草稿多常被接受、起草有多贵，看谁找到合适的草稿长度，" +
    "以及为学会它多花了多少步。",
  note:
    "由浏览器抛正面概率已知的硬币虚构而成：没有模型，也不是测量。一个普通解码步的成本为 1，k 个草稿的一轮为 1 + c k。与真实文本不同，" +
    "这里没有任何迹象表明起草器对词元有多大把握，所以 throughput 可依据的更少。",
  start: "开始",
  stop: "停止",
  batch: "下 1,000 个词元",
  reset: "重置",
  another: "换一个种子",
  seed: (seed) => `种子 ${seed}`,
  progress: (tokens, all) => `${thousands(tokens)} / ${thousands(all)} 个词元`,
  text: "文本",
  rules: "控制器",
  kind: "真实接受率",
  kinds: { constant: "处处相同", falling: "沿草稿下降", switching: "来回切换" },
  rate: "接受率",
  fall: "每个草稿乘以",
  other: "切换之后",
  cost: "草稿成本 c",
  alpha: "先验 α",
  beta: "先验 β",
  forget: "折扣",
  remembers: (share) => (share === 1 ? "1：什么都不忘" : `${share}：约 ${Math.round(1 / (1 - share))} 轮`),
  draw: "beta 的 θ",
  draws: { token: "每个词元抽取一次", round: "每轮抽取一次" },
  length: "固定长度",
  hints: {
    alpha: "第一个草稿之前，beta 与 throughput 假定已有多少草稿被接受",
    beta: "第一个草稿之前，beta 与 throughput 假定已有多少草稿被拒绝",
    forget: "每轮之后，之前的计数保留多少",
  },
  try: "试一试",
  tries: {
    switches: ["来回切换的接受率", "什么都不忘时，beta 要多久才察觉第一次切换？再把折扣降到 0.98：遗憾低于零，说明比任何固定长度都好。"],
    prior: ["错误的先验", "第一个草稿之前就相信已有五十个被接受，其实十个里只会接受四个。要多少个词元才能纠正这个信念？"],
    dear: ["太贵的草稿", "一个草稿要 0.7 步，又有一半被拒绝：起草从不划算。beta 只看接受率，照样起草；throughput 权衡成本，于是停下。"],
    stale: ["越来越不准的草稿", "第一个草稿几乎总被接受，第五个很少。谁相信所有位置共用一个 θ，谁就会起草过长；ucb 只看每种长度的实际收益。"],
  },
  columns: ["控制器", "每步词元", "遗憾（步）", "平均草稿长度", "平均接受长度"],
  best: (length) => `最佳固定：${length}`,
  bestFixed: "最佳固定",
  running: "它们都在写同一段文本；停下时说明各自多花或省下多少。",
  says: (tokens, best, speed, regrets) => {
    const lost = regrets.map(([name, value]) => `${name} ${value < 0 ? "省下" : "多花"} ${number(Math.abs(value), 0)}`);
    const fixed = best ? `最佳固定草稿长度为 ${best}` : "最佳固定草稿长度为 0，即普通解码";
    return `${thousands(tokens)} 个词元之后，${fixed}，每步 ${number(speed)} 个词元。与它相比（步）：${lost.join("，")}。`;
  },
  axis: "文本的词元",
  true: "真实值",
  position: (place) => `位置 ${place}`,
  prior: "先验",
  plain: "普通解码",
  hover: (name) => `${name}，第 %{x} 个词元：%{y:.2f}`,
  speed: {
    title: "每步词元",
    axis: "最近 400 个词元",
    label: (values) => `最近 400 个词元的每步词元数：${values.map(([name, value]) => `${name} ${number(value)}`).join("，")}。`,
  },
  lost: {
    title: "遗憾",
    axis: "比最佳固定长度多花的步数",
    label: (values) => `相对事后最佳固定长度的遗憾（步）：${values.map(([name, value]) => `${name} ${number(value, 0)}`).join("，")}。`,
  },
  course: {
    title: "沿文本的后验",
    axis: "接受概率",
    mean: "beta 均值",
    interval: "90 %",
    label: ({ alpha, beta }) => `beta 沿文本的后验，目前为 Beta(${number(alpha, 1)}, ${number(beta, 1)})，均值 ${number(alpha / (alpha + beta))}。`,
    columns: ["词元", "beta 均值", "90 % 下限", "上限", "throughput 均值"],
  },
  now: {
    title: "当前的后验",
    axis: "θ：接受概率",
    density: "密度 / 峰值",
    hover: (name) => `${name}，θ %{x:.2f}`,
    label: (rows) => `当前的后验：${rows.map(([name, alpha, beta]) => `${name} Beta(${alpha}, ${beta})`).join("；")}。`,
    columns: ["控制器", "α", "β", "均值"],
  },
  lengths: {
    title: "选择的草稿长度",
    axis: "草稿长度 k",
    share: "占轮数的比例",
    hover: (name) => `${name}，k = %{x}：占 %{y:.0%} 的轮`,
    label: (values) => `平均草稿长度：${values.map(([name, value]) => `${name} ${number(value, 1)}`).join("，")}。`,
    column: "长度",
  },
};
