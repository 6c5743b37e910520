// 多种方法竞速的文字。
import { number } from "../../lib/numbers.js";

export const methods = {
  title: "方法竞速",
  start: "开始竞速",
  note: "普通解码与至多四种方法用上面的设置写同一段文本，在同一设备上轮流运行；每个时钟只计自己的时间。只写控制器名称时，即提前退出配合该控制器。",
  against: "普通解码对阵：",
  method: (i) => `方法 ${i}`,
  none: "无",
  about: "它们各是什么、保存什么、需要什么",
  names: { vanilla: "普通解码" },
  recorded: ({ date, machine, cores }, { model, dtype, prompt }) =>
    `录制：${date}，${machine}，${cores} 核，${model}，${dtype}：“${prompt} ……”你自己的竞速会取代它。`,
  running: "竞速中……",
  finished: "完成。一段文本只是印象，不是基准测试。",
  reading: (clock, rate, length, over) => `${number(clock)} 秒，${number(rate, 0)} 词元/秒，每轮 ${number(length)} 个${over ? " ✓" : ""}`,
  columns: ["方法", "秒", "词元/秒", "加速比", "词元/轮", "接受率", "文本"],
  texts: ({ name, identical, level }) => {
    if (name === "vanilla") return "参照";
    if (level === "same-distribution") return "同分布";
    return identical ? "相同" : "不同";
  },
};
