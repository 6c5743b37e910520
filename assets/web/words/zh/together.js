// 同时写多段文本的文字。
import { number, seconds } from "../../lib/numbers.js";

const ms = (value) => `${number(1e3 * value, value < 0.01 ? 2 : 1)} 毫秒`;

export const together = {
  title: "同时写多段文本",
  start: "开始写",
  note:
    "同样的几段文本，用上面的设置各写至多 48 个词元，共用每次前向计算：EMS-SD 没有填充；填充形式让每段文本的行数都与最多的那段相同；普通形式不用草稿。" +
    "三种形式在同一设备上轮流运行。设备是共享的：每个时钟计入自己那种形式的全部前向计算，所有文本合计。",
  texts: "几段文本",
  count: (count) => `${count} 段文本`,
  running: "写作中……",
  progress: "已写词元所占比例",
  finished: (same) => {
    if (same.includes(null)) return "完成。拒绝采样时文本可以不同，概率相同。";
    return same.every(Boolean) ? "完成。三种形式写出了相同的文本。" : "完成。有一段文本不同：舍入误差使两个几乎相等的候选互换了。";
  },
  fromTrace: (count) => `此轨迹有 ${count} 段文本，上面的赛道和图表显示第一段。`,
  form: "形式",
  forms: { ems: "EMS-SD", padded: "填充", vanilla: "普通" },
  reading: (clock, rate, over) => `${seconds(clock)}，${number(rate, 0)} 词元/秒${Number.isFinite(over) ? `，普通的 ${number(over)} 倍` : ""}`,
  kinds: { plain: "普通步", padding: "填充：白算的行" },
  grid: "按文本和前向计算排列的词元：一行是一段文本，一组列是一次前向计算。上下方向键切换文本，回车打开。",
  opened: "打开的文本",
  line: ({ row, written, verified, drafted, accepted }) =>
    `文本 ${row + 1}：${verified} 次前向计算写了 ${written} 个词元${drafted ? `，${drafted} 个草稿中接受 ${accepted} 个` : ""}`,
  about: ({ row, written, verified }) => `文本 ${row + 1}：${verified} 次前向计算写了 ${written} 个词元。`,
  price: (texts, over, own, plain) =>
    `在这里同时写 ${texts} 段文本时，${over >= 1 ? "起草划算" : "起草不划算"}：EMS-SD 每秒词元数是普通解码的 ${number(over)} 倍。` +
    `它每次前向计算有 ${number(own.rows, 1)} 行，连同起草用时 ${ms(own.seconds)}，写 ${number(own.tokens, 1)} 个词元；` +
    `普通解码每次有 ${number(plain.rows, 1)} 行，用时 ${ms(plain.seconds)}，写 ${number(plain.tokens, 1)} 个。${rowOf(texts, own)}`,
  alone: (texts, own) =>
    `每次前向计算有 ${number(own.rows, 1)} 行，连同起草用时 ${ms(own.seconds)}，为 ${texts} 段文本写 ${number(own.tokens, 1)} 个词元` +
    `${own.padding ? `；${number(100 * own.padding, 0)} % 的行是填充` : ""}。${rowOf(texts, own)}`,
};

// 行数为文本数的两倍：每段文本一个草稿。
function rowOf(texts, { verify }) {
  const [few, many] = [texts, 2 * texts].map((rows) => verify[rows - 1]);
  if (!(few > 0 && many > 0)) return "";
  return `行数是有代价的：验证 ${2 * texts} 行用 ${ms(many)}，验证 ${texts} 行用 ${ms(few)}（开始时测得）。`;
}
