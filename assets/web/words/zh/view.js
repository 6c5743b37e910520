// Chinese: the view itself.
import { number } from "../../lib/numbers.js";

const against = "相对本引擎 k = 0";
// The server says in English why a run was stopped (app/device.py).
export const stopped = (how) => (!how || how === "by you" ? "已被你停止" : `已停止：${how.replace(/^after (\d+) seconds.*$/, "已达 $1 秒的上限")}`);

export const states = { pending: "待验证", accepted: "接受", rejected: "拒绝", untested: "未检验", correction: "更正", bonus: "奖励" };

export const levels = { "exact-by-construction": "构造上保证完全一致", "exact-as-observed": "实测一致", "same-distribution": "同一分布" };

export const page = {
  tour: "导览",
  glossary: "术语",
  present: "演示",
  language: "English",
  languageHint: "英文",
  tourHint: "带任务的导览 (T)",
  glossaryHint: "术语与公式 (G)",
  presentHint: "演讲用大字模式 (F)",
  leave: "返回页面 (F)",
  caution: (model, layer) =>
    `没有为 ${model} 训练过退出层：草稿来自第 ${layer} 层之后它自己的归一化与输出头，除非模型为提前退出训练过，否则很少被接受；可用 distill 命令训练一个`,
  form: {
    "Early-exiting speculative decoding: the same text, two clocks.": "提前退出推测解码：同样的文本，两个时钟。",
    LIVE: "实时",
    RECORDED: "录制",
    "exact by construction": levels["exact-by-construction"],
    "exact as observed": levels["exact-as-observed"],
    "same distribution": levels["same-distribution"],
    "Rejection sampling: each text is a draw of its own from the same distribution. The texts may differ, the probabilities do not.":
      "拒绝采样：两段文本各自是同一分布的一次抽样。它们可以不同，概率相同。",
    ["Tested when the model was loaded: on this machine, checking many tokens in one pass gives bit for bit what one token at a time gives. " +
    "So the text of EESD cannot differ from the plain one."]:
      "载入模型时检验过：在这台机器上，一次检查多个词元与逐个处理的结果逐比特相同。所以 EESD 的文本不可能与普通解码的不同。",
    ["On this machine a pass over many tokens rounds a little differently from one token at a time, so two nearly equal candidates could swap. " +
    "Every run compares both texts token by token and says what it found."]:
      "在这台机器上，一次处理多个词元的舍入与逐个处理略有不同，两个几乎相等的候选可能互换。每次运行都会逐个词元比较两段文本，并说明结果。",
    "light or dark": "浅色或深色",
    "its own": "由控制器决定",
    "1 to 512": "1 到 512",
    "0 to 15, every round": "0 到 15，每轮相同",
    "most per round, 1 to 15": "每轮最多草稿数，1 到 15",
    "most of sqrt(factor x entropy)": "√(系数 × 熵) 的上限",
    "shared-noise": "共享噪声",
    rejection: "拒绝采样",
    token: "每个词元",
    round: "每轮",
    "Top-k": "Top-k（前 k 个）",
    "Top-p": "Top-p（累积概率）",
    "Min-p": "Min-p（最低概率比）",
    "Prompt (Ctrl+Enter runs, Escape stops)": "提示词（Ctrl+Enter 运行，Esc 停止）",
    Run: "运行",
    Stop: "停止",
    Reset: "重置",
    Examples: "示例",
    Settings: "设置",
    Temperature: "温度",
    "0 is greedy; at most 2": "0 为贪心；最大 2",
    "0 keeps every token": "0 保留所有词元",
    "1 keeps every token": "1 保留所有词元",
    Seed: "随机种子",
    "same seed, same text": "种子相同，文本相同",
    "New tokens": "新词元数",
    Acceptance: "接受规则",
    "keeps vanilla's text, or its probabilities": "保持普通解码的文本，或保持其概率",
    Chat: "对话",
    "reply to the prompt": "回答提示词",
    Controller: "控制器",
    "when to stop drafting": "何时停止起草",
    "Prior alpha": "先验 α",
    "prior count of right drafts": "先验认为正确的草稿数",
    "Prior beta": "先验 β",
    "prior count of wrong drafts": "先验认为错误的草稿数",
    "Draw theta": "抽取 θ",
    "per token, or once a round": "每个词元一次，或每轮一次",
    Forget: "遗忘",
    "share of counts kept": "每轮之后计数保留的比例",
    Explore: "探索",
    "time for trying again": "起草不划算时用于尝试的时间",
    "Draft length": "草稿长度",
    "First length": "初始长度",
    "of the first round": "第一轮的长度",
    Threshold: "阈值",
    "lowest confidence to go on": "继续所需的最低置信度",
    "Wanted rate": "目标接受率",
    "share of accepted drafts": "被接受草稿的比例",
    Bound: "界",
    Factor: "系数",
    "of the entropy": "熵的系数",
    Width: "宽度",
    "of the confidence bound": "置信界的宽度",
    Limit: "上限",
    Drafter: "起草者",
    "who proposes tokens": "由谁提出词元",
    Longest: "最长",
    "the longest n-gram looked up": "查找的最长 n 元组",
    Successors: "后继",
    "how many successors of a token are kept": "每个词元保留多少个后继",
    "Wrong drafts": "错误草稿",
    "share made random": "有意干扰：随机化的比例",
    "Wrong from": "错误起点",
    "first new token": "从第几个新词元起",
    "the middle": "中间",
    Weights: "权重",
    "8 and 4 bits by bitsandbytes; the first run with one loads it": "8 位与 4 位由 bitsandbytes 提供；首次使用时载入",
    "the host's choice: a large model may not fit twice": "由服务器决定：大模型可能放不下两份",
    "not quantised": "未量化",
    "8-bit": "8 位",
    "4-bit": "4 位",
  },
};

export const race = {
  title: "竞速",
  against,
  legend: "词元状态",
  hide: "隐藏被拒绝的草稿",
  disturbed: ({ share, first }) => `有意干扰：从第 ${first + 1} 个新词元起，每个草稿以概率 ${share} 被换成随机词元。草稿只花时间，从不改变文本。`,
  units: { clock: "秒", rate: "词元/秒", length: "词元/轮" },
  lanes: { eesd: "EESD", vanilla: "普通" },
  text: (lane) => `${lane}：文本。用方向键在词元之间移动。`,
  prefill: (time) => `预填充 ${number(time)} 秒`,
  prefillHint: "读取提示词；不计入时钟",
  preparing: "准备中……",
  loading: (seconds) => `正在加载权重，已用 ${seconds} 秒：只需一次，不计入任何时钟`,
  waitingForWeights: (place, seconds) => `等待设备：第 ${place} 位；设备正在加载另一种精度的权重，已用 ${seconds} 秒`,
  waiting: (place, wait) => `等待设备：第 ${place} 位${Number.isFinite(wait) ? `，约 ${Math.ceil(wait)} 秒` : ""}`,
  progress: (round, tokens) => `第 ${round} 轮，${tokens} 个词元`,
  finished: "完成",
  over: (status, eesd, vanilla, speedup) =>
    `运行结束：${status}。EESD 每秒 ${number(eesd, 0)} 个词元，普通解码 ${number(vanilla, 0)} 个。` +
    (Number.isFinite(speedup) ? `加速比 ${number(speedup)}，${against}。` : ""),
  broken: (line) => `轨迹第 ${line} 行无法读取；运行显示到此为止。`,
  endOfText: "文本结束",
  earlier: (tokens) => `向上滚动查看更早的 ${tokens} 个词元…… `,
};

export const verdict = {
  stopped,
  same: "同一分布：文本可以不同，概率相同",
  fork: (token, margin) => `在第 ${token} 个词元处不同${margin === null ? "" : `，差距 ${number(margin, 4)}`}`,
  differ: "两段文本不同",
  identical: (tokens, level) => `完全相同：共 ${tokens} 个词元，${levels[level] ?? level}`,
};

export const tip = {
  states: {
    pending: "草稿，尚未验证",
    accepted: "草稿，已接受",
    rejected: "草稿，被拒绝",
    untested: "草稿，未检验：位于被拒绝者之后",
    correction: "目标模型的更正",
    bonus: "目标模型的奖励词元",
    plain: "一次普通解码",
  },
  state: "状态",
  round: "轮",
  position: "位置",
  draft: "草稿概率",
  target: "目标概率",
  confidence: "置信度",
  entropy: "熵",
  nats: (value) => `${number(value)} 奈特`,
  margin: "差距",
};

export const intro = {
  title: "你将看到什么",
  invitation: "在它旁边，同一个模型一次写一个词元。同样的文本，两个时钟：请按“运行”。",
  meanings: {
    pending: "猜出来的，还没有检查",
    accepted: "猜出来的，模型同意",
    rejected: "第一个猜错的",
    untested: "在猜错之后猜的，从未被评判",
    correction: "模型自己的词元，取代猜错的那个",
    bonus: "全部猜对时再多得一个",
  },
  steps: [
    ["1  起草", "模型的前几层先往前猜几个词元。"],
    ["2  验证", "其余各层一次检查所有猜测。对的留下；第一个错的被替换。"],
    ["3  学习", "每次检查都会移动信念曲线。从曲线上抽一个数来决定：继续猜，还是停。"],
  ],
  sample: { start: "猫坐", right: ["在", "那张"], wrong: "沙发", correction: "垫子", draw: "θ 0.78，χ 1：继续" },
};

export const scrubber = {
  title: "回放",
  play: "播放（空格）",
  pause: "暂停（空格）",
  restart: "从头播放 (R)",
  back: "后退一步",
  forward: "前进一步",
  kind: "一步是什么",
  kinds: { round: "轮", token: "词元", event: "子步骤", rejection: "拒绝" },
  speed: "速度",
  slider: "两条泳道时钟上的秒数",
  live: "实时",
  follow: "回到正在写的位置",
  keys: "按键 (?)",
  present: "演示模式 (F)",
  where: (time, round, rounds) => `${number(time)} 秒${round ? `，第 ${round} / ${rounds} 轮` : ""}`,
};

export const keys = {
  title: "按键",
  note: "在输入框中打字时不起作用。",
  close: "关闭",
  list: [
    ["空格", "播放或暂停"],
    ["← →", "后退或前进一轮"],
    ["Shift + ← →", "一个词元"],
    [", .", "一个子步骤：起草、验证、更新……"],
    ["X, Shift + X", "下一个或上一个拒绝"],
    ["R", "从头播放"],
    ["F", "演示模式：大字，无控件"],
    ["T", "导览"],
    ["G", "术语与公式"],
    ["?", "本列表"],
    ["Ctrl + Enter, Esc", "运行，停止"],
    ["在词元上按 Enter", "查看它所在的轮"],
  ],
};
