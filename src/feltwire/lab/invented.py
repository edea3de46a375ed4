"""Invented posts that teach what no labelled set teaches: the eight complaint categories, and what is no complaint.

Some are put together from parts, by a seeded generator: their words carry the class, their form does not. The others
were written one by one, and lie in `written/`.
"""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_WRITTEN: Final = Path(__file__).parent / "written"

_SEED: Final = 20_261_121
_PER_CATEGORY: Final = 260
_PER_SIDE: Final = 1_200

_WHO: Final = (
    "@user", "@user", "@user", "@user", "", "", "hey @user", "dear @user", "so @user", "ok @user", "thanks for nothing @user",
    "wow @user", "um @user", "@user hello?", "@user guys", "never again @user",
)  # fmt: skip
_TAIL: Final = (
    "", "", "", "", "please help", "not ok", "fix this", "what now?", "any answer?", "#fail", "so annoyed", "unbelievable",
    "I want an answer", "who do I talk to?", "enraged face", "this is a joke", "done with you", "need help asap", "!!!", "?!",
    "really disappointed", "and nobody cares", "second time this month", "face with rolling eyes",
)  # fmt: skip
_TRIP: Final = (
    "flight", "flight to Boston", "flight home", "trip to Rome", "connection in Denver", "6am flight", "return flight",
    "train", "flight 382", "vacation", "holiday", "business trip", "redeye", "honeymoon flight",
)  # fmt: skip
_TIME: Final = (
    "2 hours",
    "45 minutes",
    "three hours",
    "all day",
    "6 hrs",
    "an hour and a half",
    "90 min",
    "5 hours",
    "two days",
)
_MONEY: Final = ("$50", "35 euros", "$25", "£40", "$200", "$75", "90 bucks", "$120", "15 dollars")

_CATEGORIES: Final[Mapping[str, Sequence[str]]] = {
    "Baggage Issue": (
        "my {bag} never arrived with my {trip}", "you lost my {bag} again", "where is my {bag}? it has been {time}",
        "still no {bag} after {time}", "my {bag} came out broken, the wheel is gone", "{bag} arrived damaged and soaked",
        "someone opened my {bag} and things are missing", "my {bag} went to another city", "waiting {time} at the carousel for my {bag}",
        "the tracking says my {bag} is delivered, it is not", "baggage claim is empty and my {bag} is nowhere",
        "I have no clothes because my {bag} got left behind", "no one can tell me where my {bag} is", "{bag} torn to pieces on arrival",
        "lost luggage desk does not answer, {bag} missing since Monday", "handlers threw my {bag} around, it is crushed",
    ),
    "Customer Experience": (
        "your {staff} was so rude to my mother", "the {staff} rolled her eyes when I asked for water", "filthy cabin and a broken toilet on my {trip}",
        "worst experience ever, the {staff} yelled at passengers", "cold food, dirty tables, nobody smiled", "the {staff} treated us like cattle",
        "no entertainment, no food, smelly plane", "never felt so unwelcome as with your {staff}", "{staff} laughed at me when I complained",
        "awful experience from start to finish on my {trip}", "the {staff} ignored us the whole {trip}", "crumbs and trash everywhere, do you ever clean?",
        "unprofessional {staff}, zero courtesy", "the meal made me sick on my {trip}", "the {staff} was condescending and unhelpful",
    ),
    "Delay and Customer Service": (
        "delayed {time} and nobody tells us anything", "on hold for {time} with customer service", "my {trip} is late by {time}, no information at the gate",
        "sat on the tarmac for {time}", "your phone line hung up on me after {time}", "another delay, another excuse, {time} this time",
        "customer service does not answer, my {trip} is delayed again", "{time} late and no one at the desk", "missed my connection because of your delay",
        "waiting {time} for an agent to pick up", "why is my {trip} always late?", "{time} on hold and then disconnected",
        "crew not here, plane not here, delayed {time}", "no reply to my emails for weeks, your support is useless", "still waiting at the gate, {time} now",
    ),
    "Extra Charges": (
        "charged {money} for a carry on", "you charged me twice for the same {trip}", "hidden fees everywhere, {money} more at the end",
        "why do I pay {money} to choose anything?", "{money} fee to print a boarding pass", "my card shows an extra {money} from you",
        "you took {money} without telling me", "the price went up {money} at checkout", "a {money} service fee for what?",
        "overcharged by {money}, take it off my card", "{money} for a bag that was free last year", "unexplained charge of {money} on my statement",
        "paying {money} for overweight by one pound is robbery", "double billed for my {trip}", "extra {money} because my name has a hyphen",
    ),
    "Online Booking": (
        "your {site} crashes when I try to pay", "cannot check in on the {site}", "the {site} is down again", "the {site} keeps saying error when I book my {trip}",
        "I can't log in to the {site}", "{site} won't load my boarding pass", "booking page froze and I lost the fare", "the {site} rejects my card every time",
        "tried to book online for {time}, your {site} is broken", "password reset on the {site} never arrives", "the {site} shows flights that do not exist",
        "online check in fails with an unknown error", "your {site} logs me out at the payment step", "is your {site} made in 1995? nothing works",
    ),
    "Reschedule and Refund": (
        "you cancelled my {trip}, I want my money back", "where is my refund? {time} and nothing", "you cancelled us and rebooked us for two days later",
        "need to change my {trip} and nobody lets me", "refund my ticket, you cancelled it", "my {trip} got cancelled, rebook me please",
        "been promised a refund of {money} since March", "my {trip} was cancelled and no hotel", "you moved my {trip} to tomorrow without asking",
        "can't rebook online after you cancelled", "waiting for the refund of my cancelled {trip}", "voucher instead of a refund? no thanks, money back",
        "you rescheduled us {time} later and we miss the wedding", "reimburse me for the cancelled {trip}", "cancelled flight again, what are my options to rebook?",
    ),
    "Reservation Issue": (
        "my reservation disappeared from your system", "you spelled my name wrong on the reservation", "no record of my booking at the desk though I paid",
        "confirmation number not found for my {trip}", "overbooked and we got bumped from our {trip}", "my reservation was given to someone else",
        "never got the confirmation email for my {trip}", "you booked me on the wrong date", "half of our reservation is missing, only one passenger shows",
        "agent says my reservation does not exist", "reservation shows two tickets, I bought one", "my booking code does not work",
        "you dropped my son from our reservation", "the reservation says Tuesday, I booked Friday", "I made a reservation and have no ticket number",
    ),
    "Seating Preferences": (
        "you split my family over the plane, kids alone", "I paid for a window {seat} and got the middle", "my {seat} was changed without asking",
        "no legroom at all in this {seat}", "I picked an aisle {seat} months ago, now it is gone", "the {seat} next to my wife was given away",
        "why can't I choose my {seat}?", "my {seat} does not recline and is broken", "upgraded {seat} taken from me at the gate",
        "put us in the last row although we chose our {seat}s", "my toddler is seated five rows away from me", "extra legroom {seat} had no extra legroom",
        "assigned a {seat} by the toilet again", "moved from 4A to 32E, bring my {seat} back", "two people were given the same {seat}",
    ),
}  # fmt: skip
_SLOTS: Final[Mapping[str, Sequence[str]]] = {
    "trip": _TRIP,
    "time": _TIME,
    "money": _MONEY,
    "bag": ("bag", "suitcase", "luggage", "bags", "checked bag", "stroller", "guitar", "backpack", "baggage"),
    "staff": ("crew", "flight attendant", "gate agent", "staff", "agent at the desk", "steward", "driver", "ground staff"),
    "site": ("website", "app", "site", "booking page", "mobile app", "online system", "web page"),
    "seat": ("seat",),
    "firm": ("your shop", "your bank", "the parcel service", "my internet provider", "your app", "the hotel", "the phone company",
             "your store", "the delivery", "the streaming service", "the energy company", "the garage", "my insurance"),
    "fault": ("stopped working after the update", "arrived broken", "is down again", "double charged me", "never showed up",
              "lost my order", "keeps crashing", "has not answered in a week", "sent the wrong size", "cancelled on me",
              "is slower than dial up", "refuses to refund me", "hung up on me", "deleted my account", "is out of order again"),
    "good": ("was quick and kind", "fixed it in minutes", "made my day", "is the best", "sorted my refund, thank you",
             "found my bag, thanks", "upgraded us for free", "has great staff", "works fine again", "replied at once, well done"),
    "ask": ("what are your opening hours?", "do you ship to Canada?", "how many bags can I take?", "is the app on android?",
            "when does the sale start?", "can I bring my dog?", "do you fly to Lisbon in winter?", "which gate is it today?",
            "how do I join the club?", "is breakfast included?", "do you have this in blue?", "can I change my seat online?"),
    "news": ("opens a new office in Leeds", "reports record profits", "hires a new chief", "launches a cheaper plan",
             "sponsors the cup", "adds flights to Oslo", "buys a rival", "will test electric vans"),
    "life": ("I hate Mondays", "my team lost again", "my ex is the worst", "it has rained for a week", "I failed my exam",
             "my knee hurts so bad", "missing my grandma today", "the news makes me angry", "can't sleep, sad again",
             "politicians, all liars", "so tired of this heat", "my brother ate my cake", "this book made me cry"),
    "reply": ("Sorry to hear that, please send us a DM", "We're sorry for the trouble, our team is looking into it",
              "Thanks for reaching out, could you share your booking code?", "Hi, we'd like to help, please message us your number",
              "Glad it works again, have a nice day", "That's not what we like to hear, let us check"),
}  # fmt: skip
_COMPLAINTS: Final = ("{firm} {fault}", "{firm} {fault} and nobody helps", "why is it that {firm} {fault}?", "{time} on the phone, {firm} {fault}",
                      "I pay {money} a month and {firm} {fault}", "first {firm} {fault}, then silence", "{firm} {fault}, please put it right")  # fmt: skip
_OTHERS: Final = ("{firm} {good}", "{ask}", "{life}", "{reply}", "big news: {firm} {news}", "just so you know, {firm} {good}",
                  "quick question, {ask}", "honestly {life}", "people are too hard on {firm}, it {good}", "{life}, at least {firm} {good}")  # fmt: skip


def rows(name: str) -> list[dict[str, Any]]:
    """`categories` or `complaints`, generated, or `written-categories`, `written-complaints`: the same every time.

    Rows of {"text", "label"}.
    """
    if name.startswith("written-"):
        lines = (_WRITTEN / f"{name.removeprefix('written-')}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
    chooser = random.Random(_SEED)
    if name == "categories":
        return [
            {"text": _post(chooser, forms), "label": category}
            for category, forms in _CATEGORIES.items()
            for _ in range(_PER_CATEGORY)
        ]
    every = [form for forms in _CATEGORIES.values() for form in forms]
    half = _PER_SIDE // 2
    return [
        *({"text": _post(chooser, every), "label": "complaint"} for _ in range(half)),
        *({"text": _post(chooser, _COMPLAINTS), "label": "complaint"} for _ in range(half)),
        *({"text": _post(chooser, _OTHERS, tails=("", "", "!", "#monday", "smiling face")), "label": "no_complaint"} for _ in range(_PER_SIDE)),
    ]  # fmt: skip


def _post(chooser: random.Random, forms: Sequence[str], tails: Sequence[str] = _TAIL) -> str:
    text = chooser.choice(forms)
    while "{" in text:
        slot = text[text.index("{") + 1 : text.index("}")]
        text = text.replace("{" + slot + "}", chooser.choice(_SLOTS[slot]), 1)
    parts = [chooser.choice(_WHO) if tails is _TAIL else chooser.choice(("", "", "@user")), text, chooser.choice(tails)]
    text = " ".join(part for part in parts if part)
    return text if chooser.random() < 0.5 else text[0].upper() + text[1:]
