"""
A load test of your own deployment: `python benchmarks/load.py --url http://127.0.0.1:8000 --users users.jsonl`.

Virtual users log in, ask for subrequests with pauses between them, refresh before their access token is over, log out
now and then, and another one comes. At the end it prints throughput, latencies by kind and errors by cause; with
`--json` one document on stdout. While it runs, a line a second on stderr.

The users are accounts of the gateway: a file with a line `{"email": ..., "password": ...}` for each, or one account by
`--email`, with the password from `--password-stdin`, from the environment variable LOAD_PASSWORD, or asked for.

Without `--rate` the model is a closed one: a user thinks after each answer, and latency counts from sending. With
`--rate` it is an open one: each request has its time beforehand, whatever happened to those before it, and latency
counts from that time, so that a stall of the gateway is seen in all requests that it held up (no coordinated omission);
the generator's own timers are good to a millisecond, which is in it. Latencies are those of requests that were done and
of those that got no answer in time; refusals are quick and left out.

Exit status: 0 it ran, errors are told; 1 nothing could be reached, or nothing was done, or an honest client was treated
as none should be (a refresh or a living access token refused though nobody ended the session, an answer of somebody
else); 2 usage. An operator who ends sessions during the run, or lets them live shorter than it, makes such cases too.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from typing import Any

import uvloop
from load_http import Client, Endpoint, Unanswered, cause_of
from load_measures import Measures, as_text
from load_options import LoadError, parser, raise_descriptor_limit, read_accounts, read_endpoints
from load_users import Account, Crowd, Model, VirtualUser

LAG_TICK_SECONDS = 0.05
RAMP_PART, LONGEST_RAMP_SECONDS = 0.25, 10.0


async def reach(endpoints: list[Endpoint], options: argparse.Namespace) -> Endpoint:
    """Give the first address where a gateway refuses a subrequest without a token, as it has to."""
    cause = ""
    for endpoint in endpoints:
        client = Client(endpoint, options.timeout)
        try:
            answer = await client.ask(options.subrequest_path)
        except Unanswered as error:
            cause = error.cause
            continue
        finally:
            client.close()
        if answer.status == 401:
            return endpoint
        raise LoadError(
            f"{options.url} answers {answer.status} and not 401 to {options.subrequest_path} without a token: it is no "
            "token gateway, or a proxy keeps subrequests to itself (give the gateway's own address)"
        )
    mend = "use --cacert FILE, or --insecure" if "certificate" in cause else "is the gateway running there?"
    raise LoadError(f"{options.url} cannot be reached: {cause}: {mend}")


async def run(options: argparse.Namespace, accounts: list[Account], endpoints: list[Endpoint]) -> dict[str, Any]:
    """Run the test and give its document."""
    endpoint, loop = await reach(endpoints, options), asyncio.get_running_loop()
    model = Model(
        is_open=options.rate is not None,
        pause_seconds=options.sessions / options.rate if options.rate else options.think,
        away_seconds=options.away,
        logout_probability=options.logout,
        refresh_every_seconds=options.refresh_every,
        replay_window_seconds=options.replay_window,
        sessions_per_user=options.sessions_per_user,
        subrequest_target=options.subrequest_path,
    )
    measures = Measures()
    crowd = Crowd(model, accounts, options.sessions, measures)
    users = [VirtualUser(crowd, endpoint, options.timeout) for _ in range(options.sessions)]
    begun = time.monotonic()
    crowd.ends = begun + options.duration
    lives = [
        asyncio.create_task(user.live(begun + options.ramp * place / len(users))) for place, user in enumerate(users)
    ]
    clock = asyncio.create_task(asyncio.sleep(options.duration))

    def stop() -> None:
        """End early: who is asleep sleeps no longer, who waits for an answer gets it."""
        crowd.ends = time.monotonic()
        clock.cancel()
        for user, life in zip(users, lives, strict=True):
            if user.is_asleep:
                life.cancel()

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop)
    watch = asyncio.create_task(watch_over(measures))
    ended = await asyncio.gather(*lives, return_exceptions=True)
    if all(account.is_set_aside for account in accounts):
        clock.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await clock
    seconds = time.monotonic() - begun
    watch.cancel()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for failure in ended:
        if isinstance(failure, Exception):
            raise failure
    left = await asyncio.gather(*(user.leave() for user in users))
    rate = f"{options.rate:g} requests/s, each with its time beforehand" if model.is_open else ""
    return {
        "url": options.url,
        "model": "open" if model.is_open else "closed",
        "latency": f"{rate}; latency counts from that time, waiting for the client's own turn included"
        if model.is_open
        else f"mean think time {options.think:g} s; latency counts from sending, and a slow gateway gets less load",
        "seconds": round(seconds, 2),
        "sessions": options.sessions,
        "accounts": len(accounts),
        "ramp_seconds": options.ramp,
        "rate": options.rate,
        "connections": sum(user.client.opened_connections for user in users),
        "cleanup": {"logged_out": left.count(True), "left_behind": left.count(False)},
        **measures.summary(seconds, options.ramp, options.rate),
    }


async def watch_over(measures: Measures) -> None:
    """Show a line each second, and measure how late the event loop is."""
    is_terminal = sys.stderr.isatty()
    due = shown_at = time.monotonic()
    while True:
        due += LAG_TICK_SECONDS
        await asyncio.sleep(due - time.monotonic())
        now = time.monotonic()
        measures.loop_lag.add(max(0.0, now - due))
        due = max(due, now - LAG_TICK_SECONDS)
        if now - shown_at >= 1 - LAG_TICK_SECONDS / 2:
            shown_at = now
            row = measures.tick()
            line = (
                f"{row['second']:5} s  users {row['users']}  requests/s {row['requests_per_second']:g}  "
                f"errors {measures.errors.total()}  CPU {row['cpu_percent']:g} %"
            )
            print(
                f"\r\033[K{line}" if is_terminal else line, end="" if is_terminal else "\n", file=sys.stderr, flush=True
            )


def main() -> int:
    """Run the command and give its exit status."""
    made = parser(__doc__)
    options = made.parse_args()
    if options.ramp is None:
        options.ramp = min(options.duration * RAMP_PART, LONGEST_RAMP_SECONDS)
    try:
        accounts, endpoints = read_accounts(options), read_endpoints(options)
        raise_descriptor_limit(options.sessions)
    except LoadError as error:
        made.error(str(error))
    except OSError as error:
        print(f"load: {options.url} cannot be reached: {cause_of(error)}", file=sys.stderr)
        return 1
    if options.ramp >= options.duration:
        made.error(f"--ramp {options.ramp:g} is not shorter than --duration {options.duration:g}")
    if options.sessions > len(accounts) * options.sessions_per_user:
        made.error(
            f"--sessions {options.sessions} of {len(accounts)} accounts: the gateway keeps {options.sessions_per_user} "
            "sessions of one user; give more users, or set --sessions-per-user as the gateway is set"
        )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            document = runner.run(run(options, accounts, endpoints))
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before it began; later an interrupt ends the run with its report
        return 130
    print(json.dumps(document) if options.json else as_text(document))
    if document["requests"]["done"] == 0:
        print("load: not one request was done; the errors above say why", file=sys.stderr)
        return 1
    return 1 if document["violations"]["count"] else 0


if __name__ == "__main__":
    sys.exit(main())
