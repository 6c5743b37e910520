"""Requests of many kinds, drawn by number: instructions from files, stories to go on with, texts to sum up, questions about a passage, code,
explanations, and follow-ups to the model's own reply.

Request n is the same whoever asks for it and whenever, so writing can stop and go on. Texts that a request quotes come from the files that the user gives
(`--data`); the wording around them is ours.
"""

import json
import lzma
import re
from pathlib import Path

import numpy as np

from ...errors import UserError

STORY = ("Continue this story: {}", "Continue this story:\n\n{}", "Go on with this story in the same style: {}", "Here is how a story begins. Write what happens next.\n\n{}")
SUMMARY = (
    "Summarize the following text:\n\n{}", "Sum up this passage in two or three sentences.\n\n{}", "What is this text about?\n\n{}",
    "Write a short summary of the text below.\n\n{}", "List the main points of this text:\n\n{}", "Rewrite this text in simple words:\n\n{}",
)  # fmt: skip
TALK = ("Here is a conversation. What do the speakers talk about?\n\n{}", "Sum up this chat:\n\n{}", "Continue this conversation:\n\n{}")
ABOUT = (
    "Explain {} in simple words.", "What is {}?", "Tell me about {}.", "Write a short essay on {}.", "Give me three facts about {}.", "Why does {} matter?",
    "Write a poem about {}.", "How would you teach {} to a child?", "What are common mistakes people make about {}?", "Write a quiz with five questions on {}.",
)  # fmt: skip
STORY_ABOUT = (
    "Write a short story about {}.", "Tell me a bedtime story about {}.", "Write a funny story about {}.", "Invent a legend about {}.", "Write a dialogue about {}.",
)
CODE = (
    "Write a Python function that {}.", "Write a {language} program that {}.", "How do I write code that {} in {language}?", "Write a test for a function that {}.",
    "Explain step by step how a program {}.",
)  # fmt: skip
LANGUAGES = ("Python", "JavaScript", "Java", "C", "SQL", "Bash", "Go", "Rust")
TASKS = (
    "reverses a string", "checks whether a word is a palindrome", "computes the factorial of a number", "returns the n-th Fibonacci number", "sorts a list of numbers",
    "finds the largest number in a list", "counts the words in a text", "reads a CSV file and prints the average of a column", "removes duplicates from a list",
    "checks whether a number is prime", "merges two sorted lists", "finds the longest common prefix of a list of strings", "converts Celsius to Fahrenheit",
    "counts how often each letter occurs", "searches a sorted list by bisection", "computes the greatest common divisor", "flattens a nested list",
    "turns a list of pairs into a dictionary", "prints a multiplication table", "validates an email address", "groups words by their first letter",
    "computes the distance between two points", "rotates a matrix by 90 degrees", "implements a stack", "implements a queue with two stacks", "parses a date",
    "downloads a web page and counts its links", "draws a histogram of numbers as text", "generates a random password", "solves the Tower of Hanoi",
    "checks whether brackets are balanced", "converts a number to binary", "finds all anagrams in a list of words", "computes the median of a list",
    "simulates rolling two dice", "reads a JSON file and sorts its entries by name", "counts lines in all files of a folder", "keeps a to-do list in a file",
    "finds the shortest path in a maze", "multiplies two matrices", "encodes text with the Caesar cipher", "computes compound interest", "splits a list into chunks",
    "finds the intersection of two lists", "measures how long a function takes", "caches the results of a function", "prints the calendar of a month",
)  # fmt: skip
THINGS = (
    "the moon", "rain", "gravity", "photosynthesis", "the water cycle", "bees", "volcanoes", "the French Revolution", "democracy", "inflation", "supply and demand", "vaccines",
    "the heart", "sleep", "dreams", "friendship", "honesty", "learning a language", "chess", "football", "jazz", "painting", "cooking rice", "baking bread", "growing tomatoes",
    "a healthy breakfast", "writing a letter", "giving a talk", "time management", "saving money", "the internet", "computers", "encryption", "machine learning", "robots",
    "electric cars", "trains", "bridges", "the pyramids", "ancient Rome", "dinosaurs", "whales", "dogs", "cats", "horses", "the ocean", "deserts", "forests", "mountains",
    "winter", "a lost key", "an old lighthouse", "a clever fox", "two brothers", "a dragon who is afraid of fire", "a girl who talks to the wind", "a robot in a school",
    "the last tree", "a magic mirror", "a journey to Mars", "the number zero", "fractions", "probability", "triangles", "atoms", "magnets", "light", "sound", "electricity",
    "recycling", "climate change", "solar energy", "the stock market", "taxes", "a job interview", "a birthday party", "travelling alone", "a trip to Japan", "Paris", "New York",
    "teaching", "patience", "courage", "music and the brain", "exercise", "stress", "reading books", "libraries", "newspapers", "maps", "clocks", "mirrors", "glass", "paper",
)  # fmt: skip
FOLLOW_UPS = (
    "Can you make it shorter?", "Give me an example.", "Explain that in simpler words.", "Now write it as a list.", "Why?", "Can you say more about the last point?",
    "Rewrite your answer for a child of ten.", "What would be a counterargument?", "Continue.", "Thank you! What should I read next?", "Put your answer in one sentence.",
    "Are you sure? Check your answer.", "Now write it as a poem.", "Translate the main idea into everyday language.", "How would you start?", "Give the answer a title.",
)  # fmt: skip
MIX = {"instruct": 0.44, "story": 0.12, "summary": 0.12, "talk": 0.04, "about": 0.14, "story about": 0.05, "code": 0.09}


class Requests:
    """`folder` holds JSON Lines, packed by xz or not: `prompt` is an instruction; `text` is quoted; several lines of talk are a conversation. Raises
    UserError where nothing of use is found."""

    def __init__(self, folder: Path):
        self.instructions: dict[str, list[str]] = {}
        self.stories: list[str] = []
        self.passages: list[str] = []
        self.talks: list[str] = []
        for path in sorted(p for p in folder.rglob("*") if p.name.endswith((".jsonl", ".jsonl.xz")) and "eval" not in p.parts):
            self._read(path)
        if not self.instructions or not self.stories:
            raise UserError(f"{folder} holds no requests: JSON Lines with a field `prompt` and others with a field `text` are needed")
        self.sources = sorted(self.instructions)

    def _read(self, path: Path) -> None:
        opened = lzma.open(path, "rt", encoding="utf-8") if path.name.endswith(".xz") else path.open(encoding="utf-8")
        with opened as lines:
            for number, line in enumerate(lines):
                record = json.loads(line)
                if "prompt" in record:
                    self.instructions.setdefault(str(record.get("source")), []).append(record["prompt"])
                elif "dialogue" in path.name or "taskmaster" in path.name:
                    self.talks.append(record["text"])
                elif "openstax" in path.name:
                    self.passages.append(record["text"])
                elif number < 400:
                    self.stories.append(record["text"])

    def draw(self, number: int) -> str:
        random = np.random.default_rng([7, number])
        kind = random.choice(list(MIX), p=np.array(list(MIX.values())) / sum(MIX.values()))

        def pick(of):
            return of[int(random.integers(len(of)))]

        if kind == "instruct":
            # By the root of a source's size: a large one must not be nearly all.
            weights = np.sqrt([len(self.instructions[name]) for name in self.sources])
            return pick(self.instructions[self.sources[random.choice(len(weights), p=weights / weights.sum())]])
        if kind == "story":
            return pick(STORY).format(excerpt(pick(self.stories), random, 20, 90))
        if kind == "summary":
            return pick(SUMMARY).format(excerpt(pick(self.passages if random.random() < 0.6 else self.stories), random, 60, 150))
        if kind == "talk":
            return pick(TALK).format(excerpt(pick(self.talks), random, 40, 130, lines=True))
        if kind == "code":
            return pick(CODE).replace("{language}", pick(LANGUAGES)).format(pick(TASKS))
        return pick(ABOUT if kind == "about" else STORY_ABOUT).format(pick(THINGS))

    def follow_up(self, number: int) -> str | None:
        """What is asked behind the reply to request `number`; nothing behind most."""
        random = np.random.default_rng([8, number])
        return FOLLOW_UPS[int(random.integers(len(FOLLOW_UPS)))] if random.random() < 0.3 else None


def excerpt(text: str, random: np.random.Generator, least: int, most: int, lines: bool = False) -> str:
    """So many words from somewhere in a text, cut at the ends of sentences (of turns) where there are any."""
    parts = text.split("\n") if lines else re.split(r"(?<=[.!?][\"'\u2019\u201d]?)\s+" if False else r"(?<=[.!?])\s+", text)
    wanted, first = int(random.integers(least, most + 1)), int(random.integers(max(1, len(parts) - 4)))
    taken: list[str] = []
    for part in parts[first:]:
        taken.append(part)
        if sum(len(p.split()) for p in taken) >= wanted:
            break
    words = ("\n" if lines else " ").join(taken).split(" ")
    return " ".join(words[: most + 30])
