// 多种精度竞速的文字。
import { number } from "../../lib/numbers.js";

export const precisions = {
  title: "精度竞速",
  start: "开始竞速",
  note:
    "同一请求用几种精度的权重各写两遍：普通解码和带草稿的解码。位数越少，普通解码一步越便宜；一次处理多行的耗时是它的几倍，决定草稿能省多少。" +
    "两种精度的文本可以不同，因为那是两个模型；同一精度之内必须相同。",
  names: { none: "未量化", q8: "q8", q4: "q4" },
  methods: { vanilla: "普通", eesd: "草稿" },
  loading: (name) => `正在载入 ${name}……`,
  running: "竞速中……",
  finished: "完成。一段文本只是印象，不是基准测试。",
  columns: ["权重", "普通 词元/秒", "草稿 词元/秒", "加速比", "接受率", "文本"],
  rows: (count) => `${count} 行`,
  lesson: (name, price, speedup) => `${name}：一次处理 4 行相当于 ${number(price)} 个普通解码步，用草稿的速度是普通解码的 ${number(speedup)} 倍。`,
  texts: ({ identical, level }) => (level === "same-distribution" ? "同分布" : identical ? "相同" : "不同"),
};
