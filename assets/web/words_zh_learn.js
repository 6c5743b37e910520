// Chinese: what explains (see words_learn.js).
(() => {
  "use strict";
  const { number } = window.EESD;
  const ms = (value) => `${number(1000 * value, 1)} 毫秒`;
  const count = (value) => number(value, Number.isInteger(value) ? 0 : 2);
  const exact = (value) => number(value, Number.isInteger(value) ? 0 : 3);
  const coin = ({ theta, chi, u }) => `u ${number(u)} ${chi ? "<" : "≥"} θ ${number(theta)}：χ = ${chi}`;
  const terms = (own) => Object.entries(own).map(([name, value]) => `${name} ${count(value)}`).join("，");
  const shifts = (before, after) =>
    [["α", before.alpha, after.alpha], ["β", before.beta, after.beta]].filter(([, was, is]) => was !== is).map(([name, was, is]) => `${name} ${count(was)} → ${count(is)}`);
  const decision = (own) => (Number.isFinite(own.theta) && Number.isFinite(own.u) ? coin(own) : terms(own));

  const NUMBERS = { length: "长度", threshold: "阈值", wanted: "目标接受率", bound: "界", factor: "系数", width: "宽度", limit: "上限", rate: "接受率" };

  const armOf = (label) => window.EESD.translations.zh.charts.contexts.arm(label);

  const microscope = {
    title: "单轮显微镜",
    pick: "点击一个词元或一根柱子，或让它跟随播放位置。",
    empty: "还没有轮。",
    follow: "跟随播放位置",
    round: (round) => `第 ${round} 轮`,
    steps: ["抽取", "起草", "停止", "验证", "接受或拒绝", "学习"],

    draw: {
      note: "本轮之前，对下一个草稿会被接受的信念。",
      mean: (alpha, beta) => `均值 α / (α + β) = ${count(alpha)} / ${count(alpha + beta)} = ${number(alpha / (alpha + beta))}`,
      drawn: (values) => `抽到的 θ：${values.map((value) => number(value)).join("，")}`,
      arm: ({ label, alpha, beta }) => `${armOf(label)}：Beta(${count(alpha)}, ${count(beta)})，均值 ${number(alpha / (alpha + beta))}`,
      fixed: (length) => `每轮 k = ${length}；不抽取`,
      number: (name, value) => `${NUMBERS[name] ?? name} ${count(value)}`,
      none: "这个控制器不抽取随机数。",
    },
    draft: {
      note: "前几层与退出层的猜测。q：该词元在那里的概率；H：熵（奈特）。",
      time: (time, drafts) => `${ms(time)} / ${drafts} = 每个草稿 ${ms(time / drafts)}`,
      none: "没有起草。",
    },
    stop: {
      note: "每个草稿之后：继续，还是停？",
      token: (own, decided) => [decision(own), decided].filter(Boolean).join("，"),
      reason: {
        controller: "控制器说停。",
        limit: "已到每轮草稿上限。",
        length: "文本已到总长度。",
        eos: "草稿结束了文本。",
        none: "没有起草。",
      },
    },
    verify: {
      note: "其余各层一次检查所有猜测。p：目标模型给草稿的概率；差距：它的选择领先多少。",
      token: ({ target, margin }) => `p ${number(target, 3)}   差距 ${number(margin)}`,
      untested: "未评判：位于被拒绝者之后",
      time: (time, drafts) => `T(k + 1) = T(${drafts + 1}) = ${ms(time)}，一次完成`,
    },
    accept: {
      notes: {
        greedy: "贪心：草稿若是目标模型最可能的词元，就被接受。",
        "shared-noise": "共享噪声：目标与草稿用同样的随机数选择；若选中同一个词元，草稿被接受。",
        rejection: "拒绝采样：草稿以概率 min(1, p / q) 被接受，使文本保持目标模型的分布。",
      },
      same: "目标选择相同：接受",
      other: "目标选择了别的：拒绝",
      untested: "未检验",
      chance: ({ p, q, chance, u }) =>
        `min(1, ${number(p, 3)} / ${number(q, 3)}) = ${number(chance)}，u ${number(u)} ${u < chance ? "<" : "≥"} ${number(chance)}：${u < chance ? "接受" : "拒绝"}`,
      next: { correction: (p) => `改用目标自己的，p ${number(p, 3)}`, bonus: (p) => `目标再多写一个，p ${number(p, 3)}` },
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
      limit: (drafts) => `${drafts} 个草稿：已到每轮上限。`,
      length: (drafts) => `${drafts} 个草稿：再多就超出文本总长度。`,
      eos: (drafts) => `${drafts} 个草稿：最后一个结束了文本。`,
      none: () => "没有草稿：这一轮是一个普通步。",
      right: "事后看，再多一个也许值得：没有任何拒绝。",
      wrong: (accepted, wasted) => `事后看，${accepted ? `${accepted} 个最好` : "不起草最好"}：${wasted} 个草稿白费了。`,
    },
  };

  const tour = {
    title: "导览",
    next: "下一步",
    back: "上一步",
    end: "结束导览",
    place: (step, steps) => `${step} / ${steps}`,
    task: "试一试",
    question: "你怎么看？",
    done: "完成",
    right: "对。",
    wrong: "不太对。",
    steps: {
      race: {
        title: "一个模型，一段文本，两个时钟",
        text: "两条泳道用同一个模型、同一个提示词。普通解码每经过全部层一次写一个词元。EESD 用前几层先猜几个词元，再一次全部检查。",
        task: "让它播放：按空格键或播放按钮。",
      },
      states: {
        title: "每个词元都显示自己的结局",
        text: "下划线：猜出来并被接受。删除线：被拒绝，或位于其后而未检验。点线和双线：完整模型自己的词元。不看颜色也能分辨。",
        task: "指向一个被拒绝的词元（或用方向键移到它），看看完整模型认为它有多大可能。",
      },
      draft: {
        title: "一轮从猜测开始",
        text: "显微镜把一轮拆成六步。第 2 步列出各个猜测、退出层给它们的概率 q，以及熵：它有多不确定。",
        task: "点击一个词元（或在它上面按 Enter），查看它所在的轮。",
      },
      stop: {
        title: "什么时候停止猜测？",
        text: "猜对时，长草稿合算；第一个猜错之后的都是白费。论文的控制器从信念（一条 Beta 曲线）中抽取 θ，再以这个概率抛硬币：继续，还是停。",
        task: "用 . 键（或选“子步骤”再按箭头）走过一轮，看抽到的数落在曲线上。",
      },
      verify: {
        title: "一次检查全部",
        text: "其余各层从起草留下的隐藏状态出发，一次读完所有猜测。在时钟上，一轮是起草、一次验证，再加一点开销。",
        question: "为什么检查五个词元比写五个词元快？",
        options: ["一次计算的大部分时间用于从内存读取权重，而这只需做一次", "检查用的是更小的模型", "容易的词元不检查"],
        because: "不管一次看几个词元，权重只读一遍（在一定范围内）。检查用到所有层，也不跳过任何词元。",
      },
      accept: {
        title: "最长的正确开头留下来",
        text: "猜测被接受到第一个完整模型不会写的为止，那一个由完整模型自己的词元取代。如果全部正确，还白得一个：奖励。",
        question: "被拒绝者之后未检验的猜测告诉控制器什么？",
        options: ["什么也没有：它们跟在错误词元之后，从未被评判", "算作失败", "算作半个失败"],
        because: "把它们算作失败，会无端惩罚长草稿。只有检验过的猜测才移动信念。",
      },
      lossless: {
        title: "文本没有改变",
        text: "推测不能牺牲质量。两段文本在这里上下对齐，结论还说明有多确定：构造上保证、实测，或者在哪里、以多小的差距分开。",
        question: "如果猜测总是错的，文本会怎样？",
        options: ["同样的文本，只是更慢", "更差的文本", "随机的文本"],
        because: "留下的每个词元都是完整模型会写的。猜错只费时间。",
      },
      learn: {
        title: "信念从每次结论中学习",
        text: "每个被接受的猜测加到 α，被拒绝的加到 β。色带显示信念如何随各轮变窄；下面的刻度是它学到的成功与失败。",
        task: "按 X 跳到一次拒绝，看信念在其后下降。",
      },
      length: {
        title: "草稿长度合适吗？",
        text: "一根柱子是一轮，高度是草稿长度。线是事后最佳长度：所有猜对的，没有猜错的。",
        question: "一根柱子全部被接受，线上有向上的箭头，说明什么？",
        options: ["草稿也许太短", "草稿太长", "草稿正好"],
        because: "没有任何拒绝，再猜一个也许也对：轨迹无从知道。",
      },
      law: {
        title: "什么时候划算？",
        text: "加速定律：接受率高有利，草稿贵不利，最佳长度取决于两者。星点是你看过的这次运行。",
        task: "移动滑块，直到最佳是完全不起草。",
      },
      yours: {
        title: "轮到你了",
        text: "写一个提示词并运行：代码、诗、列表，看看哪里容易猜。T 再次打开导览，G 打开术语，? 打开按键。方法出自 Liu 等，arXiv 2406.03853；哪些是论文的、哪些是我们的，见 README。",
      },
    },
  };

  const glossary = {
    title: "术语与公式",
    terms: "术语",
    formulas: "公式",
    papers: "论文",
    close: "关闭",
    list: [
      ["目标模型 target", "完整的模型；文本就是它会写的"],
      ["退出层 exit layer", "前 N 层之后训练的一层；根据前几层所知猜下一个词元"],
      ["草稿词元 draft token", "退出层提出的词元"],
      ["轮 round", "起草，然后对所有草稿做一次验证"],
      ["接受 accepted", "目标模型确认的草稿"],
      ["拒绝 rejected", "一轮中第一个未被确认的草稿"],
      ["未检验 untested", "被拒绝者之后的草稿：不算对也不算错"],
      ["更正 correction", "取代被拒绝者的目标词元"],
      ["奖励 bonus", "没有拒绝时目标模型再写的一个词元"],
      ["草稿长度 k", "一轮有几个草稿"],
      ["接受率", "被接受的草稿占所有草稿的比例"],
      ["平均接受长度", "1 + 接受数 / 轮数：每轮写的词元数"],
      ["草稿成本 c", "一个草稿步的时间与一个普通步的时间之比"],
      ["控制器 controller", "在每个草稿之后决定：继续还是停"],
      ["后验 posterior", "控制器对下一个草稿的信念，一个 Beta 分布"],
      ["抽取 draw", "从后验随机取一个概率 θ（汤普森采样）"],
      ["无损 lossless", "与单独用目标模型的词元相同；拒绝采样时则是分布相同"],
      ["差距 margin", "目标的选择领先第二名多少，以 logit 计"],
      ["预填充 prefill", "读取提示词；不计入任何时钟"],
    ],
    equations: [
      ["θ ~ Beta(α, β),   χ ~ Bernoulli(θ)：  χ = 1 时继续起草", "论文的控制器"],
      ["α ← α + 接受数,   β ← β + 拒绝数", "学习；只计检验过的草稿（我们的选择：论文没有说明）"],
      ["以概率 min(1, p(x) / q(x)) 接受 x", "拒绝采样：p 属于目标，q 属于草稿者"],
      ["argmax_x (log p(x) + g_x)，  g_x 是以种子和位置为键的 Gumbel 噪声", "共享噪声：草稿者与目标选中同一词元则接受"],
      ["每轮词元数 = 1 + α + α² + ... + α^k = (1 − α^(k+1)) / (1 − α)", "期望值，若每个草稿以概率 α 被接受"],
      ["加速比(k) = 每轮词元数 · t / (k · c · t + T(k + 1) + o)", "t 普通步，T 验证一次，o 开销"],
    ],
  };

  Object.assign(window.EESD.translations.zh, { microscope, tour, glossary });
})();
