"""People come in by name and password, may do what their role says, and nobody else may."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.forked import run_text
from tests.ground.serve.serving import WINNOW, Answer, Served, serving
from tests.running import winnow
from winnow_ground.serve.attempts import OF_ADDRESS, OF_NAME, Attempts

ROLES = ("look", "label", "manage")
SECRET = "a long enough secret of {}"


def add_person(file: Path, name: str, role: str, password: str) -> subprocess.CompletedProcess[str]:
    command = ("passwords", "add", file, name, "--role", role)
    return run_text("winnow", *command, stdin=password + "\n")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A password file with a person of each role, named as the role."""
    file = tmp_path_factory.mktemp("people") / "people.json"
    for role in ROLES:
        assert add_person(file, role, role, SECRET.format(role)).returncode == 0
    return file


@pytest.fixture
def guarded(catalogue: Path, people: Path) -> Iterator[Served]:
    with serving(catalogue, "--passwords", people) as server:
        yield server


def test_a_password_file_is_its_owners_and_holds_no_password(people: Path) -> None:
    assert stat.S_IMODE(people.stat().st_mode) == 0o600
    assert "long enough" not in people.read_text()
    assert not list(people.parent.glob("*.part"))
    listed = winnow("passwords", "list", people).stdout
    assert set(listed.splitlines()) == {f"{role}\t{role}" for role in ROLES}


def test_people_who_are_added_at_once_are_all_in(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    (tmp_path / ".people.json.part").write_text("of one that was killed")
    with ThreadPoolExecutor(4) as pool:
        added = [pool.submit(add_person, file, name, "look", "long enough") for name in "abcd"]
    assert [one.result().stderr for one in added] == [""] * 4
    listed = winnow("passwords", "list", file).stdout
    assert listed.splitlines() == [f"{name}\tlook" for name in "abcd"]
    assert list(tmp_path.iterdir()) == [file]


def test_who_has_no_session_sees_nothing(guarded: Served) -> None:
    for path in ("/found", "/swath/1", "/tile/1/picture", "/export/csv", "/who", "/nowhere"):
        assert guarded.get(path).status == 401
    page = guarded.get("/?class=crater", Accept="text/html")
    assert (page.status, page.headers["location"]) == (303, "/login?next=/%3Fclass%3Dcrater")
    assert guarded.get("/found", Cookie=f"winnow-{guarded.port}=" + "x" * 43).status == 401
    # The page that is asked for is in the request's line, whatever the Host header says.
    for host in ("x/static/", "x/login?", "x/login#", "x/static/?"):
        assert guarded.get("/found", Host=host).status in (400, 401)
    assert guarded.get("/login").status == 200
    assert guarded.get("/static/serve.css").status == 200


def test_behind_a_proxy_with_tls_people_log_in_each_from_an_address(guarded: Served) -> None:
    def tried(password: str, address: str) -> Answer:
        own = {"Host": "mars.example", "Origin": "https://mars.example"}
        proxy = {"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
        return guarded.log_in("look", password, **own, **proxy)

    answer = tried(SECRET.format("look"), "192.0.2.1")
    assert answer.status == 303
    assert "secure" in answer.headers["set-cookie"].lower()
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0], "Host": "mars.example"}
    assert guarded.get("/found", **cookie).status == 200
    said = set()
    while 429 not in said:  # a slow machine's tries come back meanwhile
        said.add(tried("a wrong one, and long", "192.0.2.2").status)
    assert said == {401, 429}
    assert tried(SECRET.format("look"), "192.0.2.1").status == 303  # known from there


def test_a_session_lasts_until_its_person_logs_out(guarded: Served) -> None:
    answer = guarded.log_in("look", SECRET.format("look"))
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said and "samesite=strict" in said
    session = guarded.session("look", SECRET.format("look"))
    assert guarded.get("/found", **session).status == 200
    own = {"Origin": guarded.origin, **session}
    assert guarded.ask("POST", "/logout", b"", own).status == 303
    assert guarded.get("/found", **session).status == 401


def test_two_servers_of_one_host_take_each_others_cookies_for_none(
    guarded: Served, people: Path
) -> None:
    with serving(guarded.catalogue, "--passwords", people) as other:
        mine, theirs = (one.session("look", SECRET.format("look")) for one in (guarded, other))
        both = {"Cookie": f"{mine['Cookie']}; {theirs['Cookie']}"}
        assert mine["Cookie"].split("=")[0] != theirs["Cookie"].split("=")[0]
        assert [one.get("/who", **both).body for one in (guarded, other)] == [b"look"] * 2
        assert other.get("/who", **mine).status == 401


def test_the_login_leads_to_no_other_site(guarded: Served) -> None:
    for then in ("//evil.example/", "/\\evil.example", "https://evil.example", "", "/\t/evil"):
        form = f"name=look&password={SECRET.format('look')}&next={quote(then)}".encode()
        answer = guarded.ask("POST", "/login", form, {"Origin": guarded.origin})
        assert (answer.status, answer.headers["location"]) == (303, "/")


def test_who_is_taken_out_or_gets_another_password_is_out_at_once(
    catalogue: Path, tmp_path: Path
) -> None:
    file = tmp_path / "people.json"
    for name in ("ann", "bob"):
        add_person(file, name, "label", "the first secret")
    with serving(catalogue, "--passwords", file) as server:
        ann, bob = (server.session(name, "the first secret") for name in ("ann", "bob"))
        assert winnow("passwords", "remove", file, "ann").returncode == 0
        add_person(file, "bob", "label", "the second secret")
        assert server.get("/found", **ann).status == 401
        assert server.get("/found", **bob).status == 401
        assert server.log_in("bob", "the first secret").status == 401
        assert server.log_in("bob", "the second secret").status == 303
        file.write_text("{")
        assert server.log_in("bob", "the second secret").status == 503


def test_a_change_comes_from_a_page_of_this_server(guarded: Served) -> None:
    session = guarded.session("manage", SECRET.format("manage"))
    # There is no such page: a change that is let through is answered with 404.
    good = {"Origin": guarded.origin, "X-Winnow": "1", **session}
    refused = (
        {**good, "Origin": "http://evil.example"},
        {**good, "Origin": "null"},
        {**good, "Sec-Fetch-Site": "cross-site"},
        {**good, "Sec-Fetch-Site": "same-site"},
        {"X-Winnow": "1", **session},
        {"Origin": guarded.origin, **session},
    )
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert guarded.ask(method, "/none", b"{}", good).status == 404
        for headers in refused:
            assert guarded.ask(method, "/none", b"{}", headers).status == 403


def test_who_may_look_changes_nothing(guarded: Served) -> None:
    look, label = (guarded.session(role, SECRET.format(role)) for role in ("look", "label"))
    assert guarded.change("/none", {}, **look).status == 403
    assert guarded.change("/none", {}, **label).status == 404


def test_a_thousand_tries_bring_nothing(guarded: Served) -> None:
    line = http.client.HTTPConnection("127.0.0.1", guarded.port)
    line.connect()
    line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    codes, begun = [], time.monotonic()
    for number in range(1000):
        form = f"name=manage&password=guess+number+{number}"
        line.request("POST", "/login", form, {"Origin": guarded.origin})
        answer = line.getresponse()
        answer.read()
        codes.append(answer.status)
        if answer.status == 429:
            assert int(answer.headers["retry-after"]) > 0
    assert set(codes) == {401, 429}
    # A password was looked at as often as the rates let, however long the tries took.
    spent = time.monotonic() - begun
    assert codes.count(401) <= OF_NAME.burst + spent / OF_NAME.every + 1
    line.close()
    assert guarded.log_in("label", SECRET.format("label")).status == 303


def test_ten_thousand_tries_in_an_hour_are_two_hundred_at_the_most() -> None:
    attempts = Attempts()
    looked = sum(attempts.wait("ann", "192.0.2.1", 0.36 * n) == 0 for n in range(10_000))
    assert looked <= OF_NAME.burst + 3600 / OF_NAME.every + 1


def test_tries_come_back_with_time_and_a_guesser_keeps_nobody_out() -> None:
    attempts = Attempts()
    attempts.passed("ann", "192.0.2.1")
    for n in range(OF_NAME.burst):
        assert attempts.wait("ann", f"198.51.100.{n}", 0.0) == 0
    assert attempts.wait("ann", "198.51.100.99", 0.0) > 0
    assert attempts.wait("ann", "192.0.2.1", 0.0) == 0
    assert attempts.wait("ann", "198.51.100.99", OF_NAME.every + 1) == 0
    # An address has its own tries, whatever names it says; IPv6 by what one subscriber has.
    for n in range(OF_ADDRESS.burst):
        assert attempts.wait(f"name {n}", f"2001:db8::{n:x}", 0.0) == 0
    assert attempts.wait("another", "2001:db8::ffff", 0.0) > 0
    assert attempts.wait("another", "2001:db8:1::1", 0.0) == 0


def test_without_passwords_no_other_machine_is_answered(catalogue: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        done = winnow("serve", catalogue, "--host", host)
        assert done.returncode == 3
        assert "--passwords" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2, "people": {}}', '{"format": 1, "people": {"a": {}}}',
     '{"format": 1, "people": {"a\\n": {"role": "look", "hash": "x"}}}',
     '{"format": 1, "people": {"a": {"role": "root", "hash": "x"}}}',
     '{"format": 1, "people": {"a": {"role": "look", "hash": "secret"}}}', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_password_file_is_refused(catalogue: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "people.json"
    file.write_text(text)
    file.chmod(0o600)
    for done in (
        winnow("serve", catalogue, "--passwords", file, "--port", 0),
        winnow("passwords", "list", file),
    ):
        assert done.returncode == 3
        assert len(done.stderr.strip().splitlines()) == 1
        assert "secret" not in done.stderr


def test_passwords_that_others_can_read_are_refused(catalogue: Path, tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    file.write_text(json.dumps({"format": 1, "people": {}}))
    file.chmod(0o644)
    done = winnow("serve", catalogue, "--passwords", file)
    assert done.returncode == 3 and "can be read by others" in done.stderr
    assert winnow("serve", catalogue, "--passwords", tmp_path / "none.json").returncode == 3


def test_names_and_passwords_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    assert "10 to 1000" in add_person(file, "ann", "look", "short").stderr
    for name in ("", " ann", "a\nb", "x" * 65):
        assert "is no name" in add_person(file, name, "look", "long enough").stderr
    assert not file.exists()
    # A file that was there stays as it was where the new one cannot be written.
    done = add_person(Path("/dev/full"), "ann", "look", "long enough")
    assert done.returncode == 3 and len(done.stderr.strip().splitlines()) == 1


def test_a_file_of_this_server_is_looked_at_before_anything_is_loaded(tmp_path: Path) -> None:
    bad = tmp_path / "bad.db"
    bad.write_bytes(b"no catalogue" * 100)
    code = (
        "import sys; from winnow_cli.app import main\n"
        f"sys.argv = ['winnow', 'serve', {os.fspath(bad)!r}]\n"
        "try: main()\nexcept SystemExit as end: print(end.code, 'uvicorn' in sys.modules)"
    )
    done = subprocess.run(
        [os.fspath(Path(WINNOW).parent / "python"), "-c", code], capture_output=True, text=True
    )
    assert done.stdout.split() == ["3", "False"]
    assert "is no catalogue" in done.stderr
