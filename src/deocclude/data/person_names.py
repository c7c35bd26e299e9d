"""Which of COCOA's names mean one person: its annotators typed what they liked ("man ", "woman in red", "skier 2")."""

from __future__ import annotations

import re

PERSON = re.compile(
    "person|man|woman|boy|girl|child|kid|baby|toddler|infant|lady|guy|gentleman|human|adult|teenager|pedestrian|skier|"
    "snowboarder|surfer|skater|skateboarder|cyclist|bicyclist|biker|motorcyclist|rider|jockey|driver|passenger|player|"
    "batter|umpire|referee|goalkeeper|goalie|athlete|runner|jogger|swimmer|cowboy|soldier|policeman|policewoman|"
    "officer|fireman|chef|cook|waiter|waitress|worker|farmer|fisherman|student|teacher|doctor|nurse|bride|groom|"
    "spectator|bystander|photographer|tourist|shopper|customer|vendor|businessman|businesswoman"
)
"""Singular: `people`, `crowd` and `couple` are several persons under one outline."""
MACHINE = re.compile(r"\b(?:cd|dvd|mp|music|record|media|video|cassette|vcr|tape) player")
AFTER_THE_THING = re.compile(
    r"\b(?:in|on|with|at|of|behind|by|near|next|from|to|under|riding|holding|wearing|sitting|standing)\b.*"
)


def plain_name(name: str) -> str:
    """Lower case, single spaces, no digits or punctuation: "Man  2 " is "man"."""
    return " ".join(re.sub(r"[^a-z']", " ", name.casefold()).split())


def is_person_name(name: str) -> bool:
    """Whether the thing that is named, the word before any preposition, is one person."""
    thing = AFTER_THE_THING.sub("", plain_name(name)).strip()
    return bool(PERSON.fullmatch(thing.rpartition(" ")[2])) and not MACHINE.search(thing)
