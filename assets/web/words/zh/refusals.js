// Chinese: what the server says when it refuses or ends a run (app/runs.py, app/form_values.py, app/arrival.py, eesd_core/request.py).

export const refusals = [
  [/^stop strings: at most (\d+), each of 1 to (\d+) characters$/, (most, longest) => `停止文本：最多 ${most} 个，每个 1 到 ${longest} 个字符`],
  [/^stop text must be text/, () => "停止文本必须是文本"],
  [/^the system prompt must be text/, () => "系统提示必须是文本"],
  [/^the system prompt has ([\d,]+) characters: shorten it to ([\d,]+)$/, (has, most) => `系统提示有 ${has} 个字符：请缩短到 ${most} 个以内`],
  [/^the conversation must be earlier turns as JSON/, () => "对话必须是以 JSON 写成的先前轮次：请按“重置”重新开始"],
  [
    /^the conversation has ([\d,]+) characters, and ([\d,]+) is the most/,
    (has, most) => `对话有 ${has} 个字符，最多 ${most} 个：请按“重置”开始新的对话`,
  ],
  [/^the prompt is empty/, () => "提示为空：请写几个词，例如 Once upon a time"],
  [/^the prompt has ([\d,]+) characters: shorten it to ([\d,]+)$/, (has, most) => `提示有 ${has} 个字符：请缩短到 ${most} 个以内`],
  [/^(\d+) runs are waiting already/, (count) => `已有 ${count} 个运行在排队：请一分钟后再试`],
  [/^(\d+) runs a minute is the most here: try again in (\d+) seconds$/, (most, wait) => `此处每分钟最多 ${most} 次运行：请 ${wait} 秒后再试`],
  [/^(\d+) runs from your address are in line already/, (count) => `你的地址已有 ${count} 个运行在排队：请等一个结束，或停止它`],
  [
    /^([\d.]+) seconds of computing a minute is the most .*: try again in (\d+) seconds$/,
    (most, wait) => `有人等待时，每个地址每分钟最多计算 ${most} 秒：请 ${wait} 秒后再试`,
  ],
  [/^(.+) must be a whole number from (\S+) to (\S+), not (.*)$/, (name, low, high, value) => `${name} 必须是 ${low} 到 ${high} 的整数，而不是 ${value}`],
  [/^(.+) must be a number from (\S+) to (\S+), not (.*)$/, (name, low, high, value) => `${name} 必须是 ${low} 到 ${high} 的数，而不是 ${value}`],
  [/^(.+) must be one of (.+), not (.*)$/, (name, choices, value) => `${name} 必须是以下之一：${choices}，而不是 ${value}`],
  [/^the run failed \((.+?)\)/, (kind) => `运行失败（${kind}）：请重试；详情见服务器日志`],
  [/^(\S+) is still on its way \((.+)\)/, (model, far) => `${model} 仍在获取中（${far}）：请选择其他模型，或稍等片刻`],
  [/^(\S+) could not be fetched \((.+)\)/, (model, why) => `无法获取 ${model}（${why}）：请选择其他模型`],
  [
    /^the prompt \((\d+) tokens\) and (\d+) new tokens exceed the context of (\d+)/,
    (prompt, more, context) => `提示（${prompt} 个词元）加上 ${more} 个新词元超出了上下文长度 ${context}：请缩短提示或减少新词元`,
  ],
  [/^(.+) has no chat template/, (model) => `${model} 没有对话模板：请关闭对话，让它续写文本`],
];
