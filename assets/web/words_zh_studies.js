// Chinese: the live test of distributions and the benchmark (see studies_words.js).
(() => {
  "use strict";
  const { number } = window.EESD;
  const signed = ({ measured, chance, most }) => `${number(measured)}；纯属偶然时约为 ${number(chance)}，100 次中有 95 次小于 ${number(most)}`;

  Object.assign(window.EESD.translations.zh, {
    studies: {
      start: "开始",
      stop: "停止",
      stopped: (why) => (why ? `已停止：${why}` : "已被你停止"),
      preparing: "准备中……",
      lost: "服务器没有回应：请再试一次。",
    },
    lawTest: {
      title: "分布相同吗？",
      start: "各抽 500 次",
      note: "在提示词之后抽取接下来的两个词元：用推测式拒绝采样抽 500 次，普通抽样 500 次，温度与截断取自表单，再比较每个词元出现的次数。",
      lanes: { eesd: "推测", vanilla: "普通" },
      places: ["第一个词元", "第二个词元"],
      share: "占抽样的比例",
      other: "其他",
      nothing: "没有词元",
      hover: "%{text}：%{y:.3f}",
      progress: (drawn, wanted, accepted) => `各抽 ${drawn} / ${wanted} 次；被检验的草稿接受了 ${number(100 * accepted, 0)} %。`,
      distance: (name, found) => `${name}：全变差 ${signed(found)}。`,
      together: "两处合计",
      same: "没有超出偶然的差别。",
      differs: "差别大于偶然应有的：一百次检验中会有一次因运气不好而如此。请换一个种子再抽。",
      label: (name, found) => `${name}：两种抽法下最可能词元的比例，全变差 ${signed(found)}。`,
      columns: ["词元", "推测", "普通"],
    },
    benchmark: {
      title: "基准测试",
      start: "运行一个小的",
      note: "六种方法，同样的四个提示词，各 32 个词元，就在这台正在提供本页的机器上：只供观察，不宜引用。大型测试：python -m eesd_core bench",
      latest: ({ recorded, suite, finished, model, dtype, machine }) =>
        `${recorded ? "录制的报告" : "最新报告"}：${suite}，${finished.replace("T", " ")} UTC，${model} ${dtype}，${machine}。`,
      none: "这里还没有大型基准测试的报告。",
      show: "显示",
      hide: "隐藏",
      open: "在新标签页中打开",
      frame: "基准测试报告",
      progress: (done, total, left, doing) => (total ? `${done} / ${total} 段文本，约剩 ${Math.ceil(left)} 秒：${doing}` : doing),
      finished: "完成：报告在下方。",
    },
  });
})();
