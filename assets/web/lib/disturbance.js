// Whether this run's drafts were made worse on purpose (eesd_core/draft/disturbed.py), from which new token on, and the round in which it began.

const SPELLED = /^disturbed:([\d.e-]+):(\d+)$/;

export const disturbanceOf = ({ settings, rounds }) => {
  const [, share, first] = SPELLED.exec(settings?.drafter ?? "") ?? [];
  if (!share) return null;
  const begins = ({ position, outcome }) => outcome && position - rounds[0].position + outcome.drafted > Number(first);
  return { share: Number(share), first: Number(first), round: rounds.find(begins)?.number ?? null };
};
