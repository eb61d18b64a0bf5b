"""
Row 11: memory of one worker after 1,000,000 requests against that after the first 10,000: is it flat? Of ten requests
eight are allowed subrequests of 5,000 tokens in turn, one is a denied subrequest, one asks for the JWKS.
"""

from benchmarks.measuring import Row, chosen, publish
from benchmarks.processes import resident_kib
from benchmarks.servers import gateway_at, mint, pid_of, redis_at, workplace
from benchmarks.wrk import press

PATH = "/api/authz/auth-request"
TOKENS = chosen(5000, 100)
FIRST, LAST = chosen((10_000, 1_000_000), (500, 2000))
SECONDS = chosen(5.0, 0.2)
TARGET = 1.05


def main() -> None:
    with workplace() as folder, redis_at(folder) as redis, gateway_at(redis, access_token_ttl_seconds=3600) as gateway:
        pid, url = pid_of(gateway), gateway.url
        access_tokens = mint(gateway, TOKENS)
        requests = folder / "requests"
        lines = []
        for start in range(0, TOKENS, 8):
            lines += [
                f"{PATH} Authorization: Bearer {access_token}" for access_token in access_tokens[start : start + 8]
            ]
            lines += [PATH, "/.well-known/jwks.json"]
        requests.write_text("\n".join(lines) + "\n")

        count, used_seconds, first_kib, first_count = 0, 0.0, 0, 0
        course = []
        while count < LAST:
            # The first press is a short one, so that it ends not long after the first of all requests are done.
            sample = press(url, SECONDS if first_kib else min(SECONDS, 1.0), pid, requests=requests, refusals=True)
            count, used_seconds = count + sample.requests, used_seconds + sample.cpu_seconds
            course.append(round(resident_kib(pid) / 1024, 1))
            assert sample.requests < 100 or 0.05 < sample.refused / sample.requests < 0.15, sample
            if not first_kib and count >= FIRST:
                first_kib, first_count = resident_kib(pid), count
        last_kib = resident_kib(pid)
    row = Row(
        "11",
        "memory of one worker",
        f"{last_kib / 1024:.1f} MiB after {count:,}",
        f"{first_kib / 1024:.1f} MiB after {first_count:,}",
        last_kib / first_kib,
        TARGET,
        at_most=True,
        details={"requests": count, "grown_kib": last_kib - first_kib, "cpu_seconds": used_seconds, "rss_mib": course},
    )
    publish("memory", [row])


if __name__ == "__main__":
    main()
