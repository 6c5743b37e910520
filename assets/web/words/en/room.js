// The words of rooms, where people follow along on their phones.
import { number, plural } from "../../lib/numbers.js";

export const room = {
  title: "Follow along",
  start: "Follow along",
  startHint: "open a room: phones see this run as you show it",
  opening: "opening a room...",
  phones: (count) => (count ? `${plural(count, "phone")} in the room` : "The room is open. Nobody is in it yet."),
  join: "Join at",
  local: "This address works on this machine only. For phones start the server with --host 0.0.0.0 and open this page by the machine's own address.",
  qr: "QR code of the room's address",
  larger: "show it large",
  close: "Close the room",
  ask: { accepted: "Ask: accepted?", count: "Ask: how many?" },
  questions: {
    accepted: "Will the next draft be accepted?",
    count: "How many drafts of this round will be accepted?",
  },
  accepted: ["no", "yes"],
  count: (choice, most) => (choice === most ? `${most} or more` : String(choice)),
  reveal: "Show the answer",
  noRound: "No round follows this one yet: step back, or wait for the run.",
  truth: "what happened",
  guess: "the controller",
  belief: (chance) => `The controller gave the next draft a chance of ${number(100 * chance, 0)} %.`,
  score: (room, guess, asked) => `Right so far: the room ${room} of ${asked}, the controller ${guess} of ${asked}.`,
  // on the phone
  followTitle: "The room",
  room: (code) => `ROOM ${code}`,
  theme: "light or dark",
  waiting: "You are in the room. The run appears here as it is shown.",
  following: "You see what the presenter shows.",
  alone: "You are looking around on your own.",
  back: "Back to the presenter",
  closed: "The room is closed.",
  lost: "No connection: trying again...",
  mine: (right, good, all) => `${right ? "You were right" : "You were wrong"}: ${good} of ${all} so far.`,
};
