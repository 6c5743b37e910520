// 首屏的三个问题。
import { number } from "../../lib/numbers.js";

export const questions = {
  title: "三个问题",
  hint: "前往回答它的面板",
  ask: { faster: "真的更快吗？", same: "文本相同吗？", why: "为什么是这么多草稿？" },
  times: (speedup) => `本次 ${number(speedup)} 倍；何时不快？`,
  identical: (tokens) => `完全相同：共 ${tokens} 个词元`,
  comparing: "结束时比较",
  round: (number, drafts) => `第 ${number} 轮：${drafts}`,
};
