"""
Addresses that a login may lead to, and many that it may not: what validators of other gateways were fooled by, and what
browsers read otherwise than it looks (WHATWG URL). The issuer is https://auth.example.com, `cookie_domain` example.com.
"""

GOOD = [
    *(f"https://{host}{rest}" for host in ("app.example.com", "example.com", "a.b.example.com") for rest in (
        "", "/", "/page", "/page?x=1&y=2", "?x=1", "/a/b/../c", "/%E2%82%AC", "/?next=https://evil.example",
        "/login?rd=//evil.example", "/auth/login", "//double//slash",
    )),
    "https://app.example.com:8443/", "https://app.example.com:1/", "https://app.example.com:65535",
    "HTTPS://APP.EXAMPLE.COM/Page", "https://xn--bcher-kva.example.com/", "https://under_score.example.com/",
    "https://auth.example.com/", "https://auth.example.com/app", "https://auth.example.com/auth/account",
    "https://auth.example.com/authentic", "https://auth.example.com:444/x", "https://0.example.com/",
    "https://app.example.com/a;b=c/d,e(f)!~*'", "https://app.example.com/|{}^[]",
]  # fmt: skip

_HOSTS = [
    "evil.example", "evilexample.com", "example.com.evil.example", "example.comevil.example", "app.example.com.",
    "example.com.", ".example.com", "..example.com", "app..example.com", "", ".", "-.evil.example", "com", "app",
    "xample.com", "app.example.org", "app.example.co", "localhost", "127.0.0.1", "2130706433", "0x7f000001",
    "[::1]", "[::ffff:7f00:1]", "app.example.com%00.evil.example", "app.example.com%2eevil.example",
    "evil.example%23.example.com", "evil.example%2f.example.com", "evil.example%5c.example.com", "app%2eexample.com",
    "\uff41pp.example.com.evil.example", "evil.example\u3002com", "app.ex\u00e4mple.com",
    "evil.example\u2100.example.com",
    "a" * 64 + ".example.com", "*.example.com", "app .example.com", "app+.example.com", "app,.example.com",
    "-app.example.com", "app-.example.com", "app.example.com:80.evil.example", "app_\u200b.example.com",
]  # fmt: skip
_USER_INFO = [
    "https://app.example.com@evil.example/", "https://evil.example@app.example.com/", "https://a:b@app.example.com/",
    "https://@app.example.com/", "https://:@app.example.com/", "https://app.example.com:443@evil.example/",
    "https://app.example.com%40evil.example/", "https://app.example.com:@evil.example",
    "https://evil.example\\@app.example.com/", "https://app.example.com\\@evil.example/",
]  # fmt: skip
_SCHEMES = [
    "//app.example.com/", "///app.example.com/", "/\\app.example.com/", "\\\\evil.example\\", "https:/app.example.com/",
    "https:app.example.com/", "https:///app.example.com/", "https:////evil.example/", "https:\\\\app.example.com/",
    "http://app.example.com/", "HTTP://app.example.com/", "ftp://app.example.com/", "javascript:alert(1)",
    "javascript://app.example.com/%0aalert(1)", "JaVaScRiPt:alert(1)//https://app.example.com/",
    "data:text/html,https://app.example.com", "vbscript:x", "file:///etc/passwd", "blob:https://app.example.com/x",
    "wss://app.example.com/", "view-source:https://app.example.com/", "https//app.example.com/", "://app.example.com/",
    "app.example.com", "/page", "page", "?x", "#x", "", "https://", "https:", "https", "about:blank",
    "intent://app.example.com/#Intent;end", "x-https://app.example.com/", " https://app.example.com/",
    "https://app.example.com/ ", "\thttps://app.example.com/", "https://app.example.com/\n", "\x00https://app.example.com/",
    "ht\ntps://app.example.com/", "https:\t//app.example.com/", "https://app.exam\tple.com/", "https://app.example.com\r\n/",
    "https://app.example.com/\x7f", "https://app.example.com/\u20ac", "https://app.example.com/a b",
    "https://app.example.com/\x0b", "\ufeffhttps://app.example.com/", "https\uff1a//app.example.com/",
    "https://app.example.com\uff0fevil", "https:\uff0f\uff0fevil.example/", "https://evil.example\u2044.example.com/",
]  # fmt: skip
_PARTS = [
    "https://app.example.com/#fragment", "https://app.example.com#", "https://app.example.com/\\evil.example",
    "https://evil.example/\\.example.com", "https://evil.example?.example.com/", "https://evil.example#.example.com/",
    "https://evil.example/.example.com/", "https://evil.example;.example.com/", "https://evil.example&.example.com/",
    'https://app.example.com/"', "https://app.example.com/<script>", "https://app.example.com/>",
    "https://app.example.com/`", "https://app.example.com:", "https://app.example.com:/", "https://app.example.com:0/",
    "https://app.example.com:65536/", "https://app.example.com:99999/", "https://app.example.com:443443/",
    "https://app.example.com:-1/", "https://app.example.com:+443/", "https://app.example.com:4 43/",
    "https://app.example.com:0x50/", "https://app.example.com:443:443/", "https://app.example.com:a/",
    "https://app.example.com/" + "a" * 2048, "https://[app.example.com]/", "https://[::1/", "https://]/",
    "https://app.example.com;/", "https://app.example.com,evil.example/", "https://app.example.com&evil.example/",
]  # fmt: skip
_OWN = [
    "/auth", "/auth/", "/auth/login", "/auth/logout", "/auth/login?rd=https://auth.example.com/auth/login",
    "/auth/account/../logout", "/x/../auth/logout", "/./auth/logout", "/%61uth/logout", "/auth%2flogout",
    "//auth/logout",
    "/AUTH/logout", "/Auth/login", "/auth;x/logout", "/x/%2e%2e/auth/logout", "/x/.%2E/auth/logout", "/auth/account/x",
    "/auth/welcome?code=x", "/%2fauth/logout", "/x/..;/auth/logout", "/auth/account%2f..%2flogout", "/auth/refresh",
]  # fmt: skip
HOSTILE = [
    *(f"https://{host}{rest}" for host in _HOSTS for rest in ("/", ":8443/x")),
    *_USER_INFO,
    *_SCHEMES,
    *_PARTS,
    *(f"https://auth.example.com{path}" for path in _OWN),
]
