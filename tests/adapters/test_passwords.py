"""Passwords are hashed a few at a time, and those that are easy to guess are not taken."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from felix.adapters import passwords as adapter
from felix.adapters.passwords import AT_ONCE, MOST_WAITING, Argon2Passwords, WeakPassword
from felix.application.sign_in import SignInBusy

GOOD = "quiet otters juggle seven lamps"


@pytest.fixture
def cheap() -> Iterator[Argon2Passwords]:
    """Hashes that cost little."""
    made = Argon2Passwords(time_cost=1, memory_cost_kib=64)
    yield made
    made.close()


def test_what_was_accepted_matches_and_nothing_else_does(cheap: Argon2Passwords) -> None:
    async def story() -> None:
        kept = await cheap.accept(GOOD, ())
        assert kept.startswith("$argon2id$") and GOOD not in kept
        assert await cheap.matches(GOOD, kept) == (True, None)
        assert await cheap.matches(GOOD + " ", kept) == (False, None)
        assert await cheap.matches(GOOD, None) == (False, None)
        # Not even the password of nobody is anybody's.
        assert await cheap.matches("nobody's password", None) == (False, None)

    asyncio.run(story())


def test_a_keyboard_composes_as_it_likes(cheap: Argon2Passwords) -> None:
    async def story() -> bool:
        kept = await cheap.accept("schöne grüße aus wien heute", ())
        return (await cheap.matches("schöne grüße aus wien heute", kept))[0]

    assert asyncio.run(story())


def test_the_cost_is_the_floor_of_the_standard() -> None:
    costly = Argon2Passwords()
    kept = asyncio.run(costly.accept(GOOD, ()))
    costly.close()
    assert "m=19456,t=2,p=1" in kept


def test_a_hash_of_another_cost_is_made_anew(cheap: Argon2Passwords) -> None:
    async def story() -> None:
        old = Argon2Passwords(time_cost=2, memory_cost_kib=32)
        right, better = await cheap.matches(GOOD, await old.accept(GOOD, ()))
        old.close()
        assert right and better is not None and "m=64,t=1" in better
        assert await cheap.matches(GOOD, better) == (True, None)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("password", "about", "rule"),
    [
        ("elevenchars", (), "length"),
        ("x" * 1025, (), "length"),
        ("", (), "length"),
        ("passwordpassword", (), "guessable"),
        ("aaaaaaaaaaaaaaaa", (), "guessable"),
        ("123456789012345", (), "guessable"),
        ("zaphod.beeblebrox@example.com", ("zaphod.beeblebrox@example.com",), "guessable"),
    ],
)
def test_what_is_easy_to_guess_is_refused_and_not_repeated(
    password: str, about: tuple[str, ...], rule: str, cheap: Argon2Passwords
) -> None:
    with pytest.raises(WeakPassword) as refused:
        asyncio.run(cheap.accept(password, about))
    (error,) = refused.value.facts["errors"]
    assert error["rule"] == rule
    assert not password or password not in str(refused.value.record())


def test_what_is_known_of_one_person_is_forgotten_for_the_next(cheap: Argon2Passwords) -> None:
    name = "xylophagidae quintessa"
    with pytest.raises(WeakPassword):
        asyncio.run(cheap.accept(name, (name,)))
    assert asyncio.run(cheap.accept(name, ()))


def test_a_long_password_is_looked_at_in_no_time(cheap: Argon2Passwords) -> None:
    assert asyncio.run(cheap.accept("seven lamps and " * 64, ()))


def test_whoever_comes_when_many_wait_is_sent_away() -> None:
    slow = Argon2Passwords(time_cost=1, memory_cost_kib=8192)

    async def story() -> list[object]:
        many = AT_ONCE + MOST_WAITING + 20
        return await asyncio.gather(*(slow.matches(GOOD, None) for _ in range(many)), return_exceptions=True)

    answers = asyncio.run(story())
    slow.close()
    assert sum(isinstance(each, SignInBusy) for each in answers) == 20
    assert sum(each == (False, None) for each in answers) == AT_ONCE + MOST_WAITING


def test_there_is_room_again_once_the_work_is_done(cheap: Argon2Passwords) -> None:
    async def story() -> None:
        for _ in range(3):
            await asyncio.gather(*(cheap.matches(GOOD, None) for _ in range(AT_ONCE + MOST_WAITING)))

    asyncio.run(story())


def test_a_caller_who_goes_away_frees_its_place_when_the_work_ends(cheap: Argon2Passwords) -> None:
    async def story() -> None:
        gone = [asyncio.ensure_future(cheap.matches(GOOD, None)) for _ in range(AT_ONCE + MOST_WAITING)]
        await asyncio.sleep(0)
        for each in gone:
            each.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        while True:
            try:
                await cheap.matches(GOOD, None)
            except SignInBusy:
                await asyncio.sleep(0.001)
            else:
                return

    asyncio.run(asyncio.wait_for(story(), 10))


def test_who_only_signs_in_loads_no_dictionaries() -> None:
    code = (
        "import asyncio, sys; from felix.adapters.passwords import Argon2Passwords as P;"
        "p = P(time_cost=1, memory_cost_kib=64); asyncio.run(p.matches('a', None)); p.close();"
        "sys.exit('zxcvbn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert adapter.LOOKED_AT_LENGTH <= 72
