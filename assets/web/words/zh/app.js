// Chinese: the panels below the stage.
import { number } from "../../lib/numbers.js";
import { stopped } from "./view.js";

const signed = ({ measured, chance, most }) => `${number(measured)}；仅凭偶然约为 ${number(chance)}，100 次中有 95 次小于 ${number(most)}`;

const megabytes = (bytes) => number(bytes / 1e6, 0);

export const arrivals = {
  live: (model) => `此处实时运行：${model}`,
  state: ({ model, state, seconds, done, total, problem }) => {
    if (state === "loading") return `正在加载模型：${seconds} 秒`;
    if (state === "ready") return `${model} 已就绪：请在提示词旁选择`;
    if (state === "failed") return `无法获取 ${model}：${problem}`;
    return done < total ? `正在获取 ${model}：${megabytes(done)} / ${megabytes(total)} MB` : `正在解包 ${model}`;
  },
};

export const models = {
  "smollm2-early":
    "SmolLM2-135M-Instruct，最后几层加了我们训练的小型 LoRA，使其与退出层更一致。因此它是另一个模型，写出的文本不同。原模型是 smollm2，" +
    "可在提示词旁选择。",
  smollm2: "SmolLM2-135M-Instruct，使用其 GGUF 文件中的权重。",
  "embedded model": "讲故事模型：1500 万参数，为本页训练。它续写故事。",
};

export const takeaway = {
  title: "带走结果",
  note: "除二维码外，一切都在你的浏览器中生成；不发送任何内容。",
  trace: ["轨迹", "本次运行的每个事件，NDJSON 格式：可在此打开，也可用 `python -m eesd_core replay`"],
  html: ["网页", "本次运行的单个 HTML 文件，离线可用"],
  csv: ["CSV", "每轮一行，供电子表格使用"],
  perfetto: ["Perfetto", "供 ui.perfetto.dev 或 chrome://tracing 使用的时间线"],
  svg: ["图表 SVG", "所有图表的矢量图"],
  png: ["图表 PNG", "所有图表的图片，屏幕尺寸的两倍"],
  cite: ["引用", "如何引用本次运行"],
  open: ["打开轨迹", "显示以前保存的运行"],
  link: ["复制链接", "提示词、种子和所有设置都在一个地址里"],
  qr: ["二维码", "该链接，可从屏幕上扫描"],
  cores: (count) => `${count} 核`,
  runs: "显示哪次运行",
  lecture: ["授课页面", "几次录制的运行，连同导览和沙盒，合成一个可离线使用的文件"],
  nowhere: "轨迹没有说明录制地点",
  copy: "复制",
  copied: "已复制",
  notCopied: "浏览器不允许本页复制：请选中文本自行复制",
  close: "关闭",
  saved: (name) => `已保存 ${name}`,
  opened: (name) => `正在显示 ${name}`,
  noRun: "还没有可以带走的运行：请按“运行”。",
  noTrace: "这不是轨迹：请用“轨迹”按钮保存一个，或用 `race ... --trace FILE`；也可打开 vLLM 或 llama.cpp 对请求的响应",
  noForeign: (why) => `此响应对草稿的说明不够（${why}）：vLLM 的响应带 metrics.speculative_decoding，llama.cpp 的带 timings。`,
  noJson: "无法按 JSON 读取：文件被截断或被改动",
  broken: (line, why) => `轨迹第 ${line} 行：${why}`,
  tooLarge: (most) => `轨迹大于 ${most} MB：请保存更短的运行。`,
  notMade: "文件未能生成：服务器没有回应。请再试一次。",
  linkTooLong: "提示词与对话太长，放不进二维码：请改为复制链接。",
  tooLongToLink: "对话太长，放不进链接：请改为保存轨迹。",
  refused: (names) => `链接里有不允许的值（${names}）：已改用默认值。`,
};

export const whatIf = {
  title: "假如换一种规则",
  note: "由计算得出，并未实际运行：本次的草稿换成别的规则会怎样，按各轮实测的成本计算。遗憾：相对事后最佳长度损失的时间。",
  columns: ["草稿长度", "加速比", "词元/秒", "遗憾", "轮数", "接受数"],
  better: "（越短越好）",
  names: { "this run": "本次运行", oracle: "事后最佳" },
  fixed: (length) => `固定：${length}`,
  bestFixed: (length) => `最佳固定：${length}`,
  siblings: (name) => `${name}，带分支`,
  ms: (value) => `${number(value, 0)} 毫秒`,
};

export const runs = {
  title: "本次访问的运行",
  note: "更改权重、控制器或温度，再次运行，然后比较。",
  columns: ["权重", "规则", "T", "接受率", "词元/轮", "EESD 词元/秒", "普通 词元/秒", "加速比", "文本"],
  levels: { "exact-by-construction": "构造上保证一致", "exact-as-observed": "实测一致", fork: "出现分歧", "same-distribution": "同一分布" },
};

export const studies = {
  start: "开始",
  stop: "停止",
  stopped,
  preparing: "准备中……",
  lost: "服务器没有回应：请再试一次。",
};

export const lawTest = {
  title: "分布相同吗？",
  start: "各抽 500 次",
  note: "在提示词之后抽取接下来的两个词元：用推测解码的拒绝采样抽 500 次，用普通解码抽 500 次，温度与截断取自表单，再比较每个词元出现的次数。",
  lanes: { eesd: "推测", vanilla: "普通" },
  places: ["第一个词元", "第二个词元"],
  share: "占抽样的比例",
  other: "其他",
  nothing: "（无词元）",
  hover: "%{text}：%{y:.3f}",
  progress: (drawn, wanted, accepted) => `各抽 ${drawn} / ${wanted} 次；检验过的草稿接受了 ${number(100 * accepted, 0)} %。`,
  distance: (name, found) => `${name}：全变差 ${signed(found)}。`,
  together: "两处合计",
  same: "没有超出偶然的差别。",
  differs: "差别超出了偶然的范围。不过一百次检验中总有一次会碰巧如此：请换一个种子再抽。",
  label: (name, found) => `${name}：两种抽法下最常见词元的占比，全变差 ${signed(found)}。`,
  columns: ["词元", "推测", "普通"],
};

export const benchmark = {
  title: "基准测试",
  start: "运行小型测试",
  note: "六种方法，同样的四个提示词，各 32 个词元，就在提供本页的这台机器上运行：只能作为初步印象，不宜引用。正式测试：python -m eesd_core bench",
  latest: ({ recorded, suite, finished, model, dtype, machine }) =>
    `${recorded ? "录制的报告" : "最新报告"}：${suite}，${finished.replace("T", " ")} UTC，${model} ${dtype}，${machine}。`,
  none: "这里还没有大型基准测试的报告。",
  show: "显示",
  hide: "隐藏",
  open: "在新标签页中打开",
  frame: "基准测试报告",
  progress: (done, total, left, doing) => (total ? `${done} / ${total} 段文本，约剩 ${Math.ceil(left)} 秒：${doing}` : doing),
  finished: "完成：报告在下方。",
};
