"""
Why an answer was not the one that was asked for: one row for each cause, with plain words and what would change it.

A row is found by the `slug` and the `cause` of an error. A cause that has no row, since it is a parser's own words,
falls to the row of its slug. `code` stands for the row in request ids that were told long ago: rows are added, never
renumbered. In a mend, EMAIL stands for the address of the user, where one is known.

One file, since it is one table.
"""

from typing import NamedTuple

from gateway.errors import GatewayError


class Verdict(NamedTuple):
    """
    Why an answer was refused.

    `code` is 0 to 255; `slug` that of the problem; `cause` a word for it, empty for whatever else the slug stands for;
    `words` say what happened; `mend` names the setting or command that would change it, and is empty where nothing
    would or nobody has to.
    """

    code: int
    slug: str
    cause: str
    words: str
    mend: str = ""

    @property
    def label(self) -> str:
        """Give the cause, or without one the slug: a word of a closed list, as a metric needs it."""
        return self.cause or self.slug


def verdict_of(error: GatewayError) -> Verdict:
    """Give the row of an error: of its slug and cause, else of its slug, else the one that knows nothing."""
    return _BY_CAUSE.get((error.slug, error.cause)) or _BY_CAUSE.get((error.slug, ""), UNKNOWN)


def verdict_by_code(code: int) -> Verdict | None:
    """Give the row of a number; None where this version has none, as for one that a later version told."""
    return _BY_CODE.get(code)


_LOG_IN = "log in again, and refresh before `expires_in` is over"
_NTP = "set the clocks of the gateways by NTP"
_CHECK = "`gateway check` says what Redis lacks"
_FAULTS = "`gateway check` says what is wrong with Redis, docs/faults.md what each state of it means"
_PROXY = "mend the URL of the subrequest in the proxy's configuration; docs/proxies.md has one for each proxy"
_ENABLE = "`gateway users enable EMAIL` lets the user log in again"
_SESSIONS = "log in again; `gateway audit --user EMAIL` says who ended sessions, and why"
_LIFE = "refresh_idle_ttl_seconds and refresh_absolute_ttl_seconds say how long a session lives"
_BODY = "docs/http.md says which body each path takes"
_LOG = "`cause` and `reason` in the line of this request in the log say more"
_ONE_PROXY = "where every client seems to have the proxy's address, trusted_proxies lacks the proxy"
_PASSWORD = "choose another one"  # noqa: S105 - advice

_RESET = "`gateway users factors EMAIL --reset` helps who has lost them all"
_DOMAIN = "a passkey is good under the cookie_domain, or the host of the issuer, that it was made under"
_ANOTHER = "its owner makes another one: POST /auth/tokens, or `gateway tokens create EMAIL`"
_TOKEN, _STORE, _FACTOR = "access-token-invalid", "store-unavailable", "second-factor-invalid"

_OAUTH, _CLIENT = "invalid-request", "invalid-client"
_OAUTH_DOCS = "docs/oauth.md says how a client asks"
_CLIENTS = "`gateway clients list` has all clients, with their audiences"

UNKNOWN = Verdict(0, "unknown", "", "The answer was refused for a reason that has no words here.")

# Redis's own words, and ours for what it did not say (`gateway.store.faults`).
_STATES_OF_REDIS = (
    (60, "TIMEOUT", "Redis did not answer in time.", ""),
    (61, "CONNECTION", "Redis could not be reached.", ""),
    (62, "AWAY", "Redis was away a moment before, and was not asked again yet.", ""),
    (63, "BUSYPOOL", "All connections to Redis were in use.", ""),
    (64, "ERROR", "Redis answered with an error.", ""),
    (65, "LOADING", "Redis had just begun and was still reading its data.", ""),
    (66, "BUSY", "Redis was busy with a script of somebody else.", ""),
    (67, "TRYAGAIN", "The Redis cluster was moving keys.", ""),
    (68, "CLUSTERDOWN", "The Redis cluster did not serve all of its keys.", ""),
    (69, "MASTERDOWN", "A replica of Redis had lost its master.", ""),
    (70, "MISCONF", "Redis could not save its data to disk, and takes no writes.", "give the disk of Redis room"),
    (71, "OOM", "Redis is full.", "give it more maxmemory; docs/capacity.md says how much is needed"),
    (72, "NOREPLICAS", "Redis has too few replicas to take a write.", ""),
    (73, "NOSCRIPT", "Redis had forgotten a script.", ""),
    (74, "MAXCLIENTS", "Redis has as many clients as it may have.", "raise its maxclients"),
    (75, "UNCONFIRMED", "Redis took a write, but did not confirm it as redis_durability asks for.", ""),
    (76, "READONLY", "The Redis that was asked is a replica.", "redis_url must lead to the master or to its Sentinels"),
    (77, "ASK", "The Redis cluster was moving keys.", ""),
    (78, "UNBLOCKED", "The master of Redis has just changed.", ""),
    (79, "MOVED", "The Redis that was asked is part of a cluster.", "write redis_url as redis+cluster://host:port"),
    (80, "CROSSSLOT", "The Redis that was asked is part of a cluster.", "write redis_url as redis+cluster://host:port"),
    (81, "WRONGTYPE", "A key of the gateway holds something else.", "give the gateway a redis_key_prefix of its own"),
    (82, "NOPERM", "The user in redis_url may not do what is needed.", "allow it with ACL SETUSER; ACL LOG says what"),
    (83, "NOAUTH", "Redis wants a password.", "put it into redis_url"),
    (84, "WRONGPASS", "Redis does not take the user and the password of redis_url.", "mend them in redis_url"),
    (85, "replaced", "The Redis server was replaced by another one.", ""),
)

VERDICTS = (
    UNKNOWN,
    # ------------------------------------------------------------------------------------------------ what was sent
    Verdict(
        1,
        "malformed-request",
        "",
        "The request is not HTTP as it should be, or not what this path takes.",
        "the `detail` of the answer, and `cause` in the line of this request in the log, say what is wrong with it",
    ),
    Verdict(
        2,
        "malformed-request",
        "token-in-query",
        "A token was sent in the query of the URL, where logs and histories keep it.",
        "send it as `Authorization: Bearer ...` or as the cookie that it was given in",
    ),
    Verdict(
        3,
        "malformed-request",
        "token-sent-twice",
        "Two tokens were sent at once, so neither was believed.",
        "send one, in one way: in `Authorization`, as a cookie, or in the body",
    ),
    Verdict(
        4,
        "malformed-request",
        "cookie-sent-twice",
        "A cookie of the gateway was sent twice, so neither was believed.",
        "clear the cookies of the site; a sibling subdomain, or an earlier cookie_domain, has set the second one",
    ),
    Verdict(
        5,
        "malformed-request",
        "body-unreadable",
        "The body is not JSON, or not a form, with the members that belong there.",
        _BODY,
    ),
    Verdict(
        6,
        "headers-too-large",
        "",
        "The head of the request has more bytes or more fields than are taken.",
        "make cookies and URL smaller; `cause` in the line of this request in the log names the largest field",
    ),
    Verdict(7, "payload-too-large", "", "The body of the request is larger than is taken.", _BODY),
    Verdict(8, "unsupported-media-type", "", "The body has a type that this path does not take.", _BODY),
    Verdict(
        9,
        "not-found",
        "",
        "There is nothing under this path, or this user has no such session.",
        "docs/http.md has all paths; those of pages are there with portal = on alone",
    ),
    Verdict(10, "method-not-allowed", "", "The path does not have this method.", "use one that the header Allow names"),
    Verdict(
        11,
        "cross-site-request",
        "",
        "A browser sent the request from a site that is not allowed to.",
        "if this site is yours, put its origin into allowed_origins",
    ),
    # ------------------------------------------------------------------------------------ access tokens and sessions
    Verdict(
        12,
        "access-token-missing",
        "",
        "Neither an access token nor a session cookie of this gateway came with the request.",
        "log in; behind a proxy, see that it hands on Cookie and Authorization, and that cookie_domain covers its host",
    ),
    Verdict(13, _TOKEN, "", "The access token is not valid.", _LOG_IN),
    Verdict(
        14,
        _TOKEN,
        "malformed_token",
        "What came as an access token is none: it is cut off, or of another kind.",
        "send the `access_token` of a login as it was given",
    ),
    Verdict(
        15,
        _TOKEN,
        "untrusted_token",
        "The access token is forged: its signature, or its kind, is not what a key of this gateway makes.",
        "log in again, if it is not somebody's try; what is no access token, such as an id_token, is none here either",
    ),
    Verdict(
        16,
        _TOKEN,
        "unknown_key",
        "The access token is signed by a key that this gateway does not know.",
        "log in again; `gateway keys list` has the keys, and one gateway takes those of another by the same redis_url"
        " and redis_key_prefix alone",
    ),
    Verdict(17, _TOKEN, "expired_token", "The access token has expired.", _LOG_IN),
    Verdict(
        18,
        _TOKEN,
        "wrong_issuer",
        "The access token is of another issuer.",
        "log in again; the setting issuer says what a token must name",
    ),
    Verdict(
        19,
        _TOKEN,
        "wrong_audience",
        "The access token is for another audience, such as one application behind the proxy.",
        "send the token of the login itself; the setting audience says what a token must name",
    ),
    Verdict(20, _TOKEN, "not_yet_valid", "The access token comes from the future, by the clock of this gateway.", _NTP),
    Verdict(
        21, _TOKEN, "claims_rejected", "A claim of the access token is missing or of a wrong type.", "log in again"
    ),
    Verdict(
        22,
        _TOKEN,
        "revoked",
        "The session of the access token was ended before the token's own time was over.",
        _SESSIONS,
    ),
    Verdict(23, _TOKEN, "user_disabled", "The user of the access token is disabled or was removed.", _ENABLE),
    Verdict(24, _TOKEN, "session-revoked", "The browser session was ended.", _SESSIONS),
    Verdict(25, _TOKEN, "session-expired", "The browser session is over.", _LIFE),
    Verdict(
        26,
        _TOKEN,
        "session-unknown",
        "The browser session is not known: it was over some time ago, or Redis has lost it.",
        "log in again",
    ),
    Verdict(
        27, _TOKEN, "session-user_disabled", "The user of the browser session is disabled or was removed.", _ENABLE
    ),
    Verdict(
        28,
        _TOKEN,
        "token-sent-twice",
        "Two access tokens were sent at once, so neither was believed.",
        "send one: see that the proxy does not add an Authorization of its own to the client's cookie",
    ),
    Verdict(
        29,
        _TOKEN,
        "cookie-sent-twice",
        "A cookie of the gateway was sent twice, so neither was believed.",
        "clear the cookies of the site; a sibling subdomain, or an earlier cookie_domain, has set the second one",
    ),
    Verdict(
        30,
        _TOKEN,
        "malformed-request",
        "The subrequest is not HTTP as it should be; since proxies know no 400, it was denied.",
        "`reason` in the line of this request in the log says what is wrong; docs/proxies.md has a configuration for"
        " each proxy",
    ),
    Verdict(
        31,
        _TOKEN,
        "revocations-stale",
        "This gateway has not heard of revocations for too long, so no token can be believed.",
        f"{_CHECK}; revocation_max_lag_seconds says how long a gateway may hear nothing",
    ),
    Verdict(
        32,
        _TOKEN,
        "revocations-unread",
        "This gateway has never read which sessions were revoked, since it began without Redis.",
        f"{_CHECK}, and /readyz when a gateway is ready",
    ),
    Verdict(
        33,
        _TOKEN,
        "keyring-unread",
        "This gateway has never read its keys, since it began without Redis.",
        f"{_CHECK}, and /readyz when a gateway is ready",
    ),
    Verdict(
        34,
        _TOKEN,
        "internal-error",
        "The gateway failed while it judged the subrequest, and denied it.",
        "the log has the traceback under this request id",
    ),
    Verdict(35, _TOKEN, _STORE, "The subrequest could not be judged without Redis, and was denied.", _FAULTS),
    # ------------------------------------------------------------------------------------------------- requirements
    Verdict(
        36,
        "authentication-too-weak",
        "",
        "The login is not good enough for what the URL of the subrequest asks for.",
        "log in again, as it asks for",
    ),
    Verdict(
        37,
        "authentication-too-weak",
        "too-old",
        "The login is older than max_auth_age= in the URL of the subrequest allows, or than a change of factors does.",
        "log in again, or make max_auth_age= larger in the proxy's configuration",
    ),
    Verdict(
        38,
        "authentication-too-weak",
        "method-missing",
        "The login was not made with a method that amr= in the URL of the subrequest asks for, or a change of factors.",
        "log in with such a method, or take amr= out of the proxy's configuration",
    ),
    Verdict(39, "insufficient-role", "", "A requirement in the URL of the subrequest is not met.", _PROXY),
    Verdict(
        40,
        "insufficient-role",
        "role-missing",
        "The user has none of the roles that role= in the URL of the subrequest asks for.",
        "`gateway users roles EMAIL ROLE...` sets all roles of the user, which sessions see at their next refresh;"
        " `requirement` in the line of this request in the log says which is asked for",
    ),
    Verdict(
        41,
        "insufficient-role",
        "audience-unknown",
        "The URL of the subrequest asks by token= for an audience for which no tokens are made.",
        "put it into audiences, or mend the URL in the proxy's configuration",
    ),
    Verdict(
        42,
        "insufficient-role",
        "requirement-unreadable",
        "A requirement in the URL of the subrequest cannot be read, so it is not met.",
        _PROXY,
    ),
    Verdict(
        43,
        "insufficient-role",
        "fragment-in-url",
        "There is a # in the URL of the subrequest, and what follows it would not have been looked at.",
        _PROXY,
    ),
    # --------------------------------------------------------------------------------------------------------- logins
    Verdict(44, "invalid-credentials", "", "E-mail address and password do not belong together.", ""),
    Verdict(
        45,
        "invalid-credentials",
        "wrong-password",
        "The password is not the user's.",
        "`gateway users set-password EMAIL` sets another; if no password is right since the gateway got another secret,"
        " put the one before into previous_secrets",
    ),
    Verdict(
        46,
        "invalid-credentials",
        "unknown-user",
        "No user has this e-mail address.",
        "`gateway users list` has all of them, `gateway users add EMAIL` adds one",
    ),
    Verdict(47, "invalid-credentials", "user-disabled", "The user is disabled.", _ENABLE),
    Verdict(
        110,
        "invalid-credentials",
        "user-changed",
        "The password was right, but while it was compared the user got another one, was disabled or removed.",
        "log in again",
    ),
    Verdict(
        48,
        "invalid-credentials",
        "wrong-current-password",
        "The current password that came with the new one is not the user's.",
        "`gateway users reset EMAIL` makes a link by which the user sets a new one",
    ),
    Verdict(49, "password-rejected", "", "The new password breaks a rule.", _PASSWORD),
    Verdict(
        50,
        "password-rejected",
        "too_short",
        "The new password is too short.",
        "choose a longer one; password_min_length says how long",
    ),
    Verdict(51, "password-rejected", "too_long", "The new password is too long.", "choose a shorter one"),
    Verdict(52, "password-rejected", "common", "The new password is one of the most common ones.", _PASSWORD),
    Verdict(53, "password-rejected", "contains_email", "The new password contains the e-mail address.", _PASSWORD),
    Verdict(54, "password-rejected", "unchanged", "The new password is the old one.", _PASSWORD),
    Verdict(
        55,
        "invitation-spent",
        "",
        "The link of the invitation or the reset was used, is over, or was never given.",
        "`gateway users invite EMAIL` or `gateway users reset EMAIL` makes a new one",
    ),
    # --------------------------------------------------------------------------------------------------------- limits
    Verdict(56, "rate-limited", "", "There were too many attempts.", "wait as long as Retry-After says"),
    Verdict(
        57,
        "rate-limited",
        "login",
        "There were too many logins from this address, or from the network around it.",
        f"wait as long as Retry-After says, or raise login_limit; {_ONE_PROXY}",
    ),
    Verdict(
        58,
        "rate-limited",
        "refresh",
        "There were too many refreshes from this address, or from the network around it.",
        f"wait as long as Retry-After says, or raise refresh_limit; {_ONE_PROXY}",
    ),
    Verdict(
        59,
        "rate-limited",
        "account",
        "There were too many wrong passwords for this account.",
        "wait as long as Retry-After says; `gateway users unlock EMAIL` forgets them",
    ),
    # ------------------------------------------------------------------------------------------------- our own faults
    *(Verdict(code, _STORE, cause, words, mend or _FAULTS) for code, cause, words, mend in _STATES_OF_REDIS),
    Verdict(86, _STORE, "", "The gateway could not do this without Redis.", _FAULTS),
    Verdict(
        87,
        _STORE,
        "session-unseen",
        "Only Redis could say whether this browser session or personal token is good, and it did not answer.",
        f"{_FAULTS}; one that was seen within the last hour passes without it",
    ),
    Verdict(
        88,
        _STORE,
        "revocations-stale",
        "This gateway has not heard of revocations for too long, so nobody can be believed.",
        f"{_CHECK}; revocation_max_lag_seconds says how long a gateway may hear nothing",
    ),
    Verdict(
        89,
        _STORE,
        "revocations-unread",
        "This gateway has never read which sessions were revoked, since it began without Redis.",
        f"{_CHECK}, and /readyz when a gateway is ready",
    ),
    Verdict(
        90,
        _STORE,
        "keyring-unread",
        "This gateway has never read its keys, since it began without Redis.",
        f"{_CHECK}, and /readyz when a gateway is ready",
    ),
    Verdict(91, _STORE, "ended", "The session was ended while it was being opened.", "log in again"),
    Verdict(92, _STORE, "another-answer", "Redis gave an answer to another question, which was not used.", _FAULTS),
    Verdict(93, "overloaded", "", "There was too much to do at once.", "try again later"),
    Verdict(
        94,
        "overloaded",
        "hashing",
        "More passwords waited to be hashed than can be in good time.",
        "try again later; more processors, or a smaller bcrypt_cost, take more logins a second (docs/capacity.md)",
    ),
    Verdict(
        95,
        "overloaded",
        "account",
        "More logins of this one account were being heard at once than can be.",
        "try again in a moment",
    ),
    Verdict(
        96,
        "overloaded",
        "connections",
        "This process, or this address with it, had as many connections open as it may.",
        "raise the limit of open files (ulimit -n) or workers; docs/capacity.md says how many are needed",
    ),
    Verdict(97, "not-ready", "", "This process should get no traffic yet.", _CHECK),
    Verdict(98, "not-ready", "redis", "This process does not reach Redis.", _FAULTS),
    Verdict(99, "not-ready", "keyring", "This process has not read its keys.", _FAULTS),
    Verdict(100, "not-ready", "revocations", "This process does not know which sessions were revoked.", _FAULTS),
    Verdict(
        101,
        "internal-error",
        "",
        "The gateway failed; that should not happen.",
        "the log has the traceback under this request id",
    ),
    # -------------------------------------------------------------------------------------------------- refresh tokens
    Verdict(
        102,
        "refresh-token-missing",
        "",
        "No refresh token came with the request.",
        "log in; the cookie goes to /auth/refresh and /auth/logout alone, and to HTTPS alone where the issuer is",
    ),
    Verdict(103, "refresh-token-invalid", "", "The refresh token is not valid.", "log in again"),
    Verdict(
        104,
        "refresh-token-invalid",
        "forged",
        "The refresh token is not one that this gateway has made under its secret.",
        "log in again; if the gateway got another secret, put the one before into previous_secrets",
    ),
    Verdict(105, "refresh-token-invalid", "revoked", "The session was ended.", _SESSIONS),
    Verdict(106, "refresh-token-invalid", "user_disabled", "The user is disabled or was removed.", _ENABLE),
    Verdict(
        107,
        "refresh-token-invalid",
        "unknown",
        "The session is not known: it was over some time ago, or Redis has lost it.",
        "log in again",
    ),
    Verdict(108, "refresh-token-invalid", "expired", "The session is over.", _LIFE),
    Verdict(
        109,
        "refresh-token-reused",
        "reused",
        "A refresh token was used again that had been exchanged before, so the session was ended.",
        "log in again; if it was no thief, the client must keep the token of each answer and refresh once at a time",
    ),
    Verdict(
        111,
        "rate-limited",
        "change-password",
        "There were too many changes of passwords from this address, or from the network around it.",
        f"wait as long as Retry-After says, or raise login_limit; {_ONE_PROXY}",
    ),
    # -------------------------------------------------------------------------------------------------- second factors
    Verdict(
        112,
        "second-factor-required",
        "",
        "The password was right, and a second factor has to follow, or to be set up.",
        "show one with the next request; the setting second_factor says who needs one",
    ),
    Verdict(113, _FACTOR, "", "The second factor is not valid.", _RESET),
    Verdict(
        114,
        _FACTOR,
        "wrong-code",
        "The code is none that this user has now.",
        f"the clocks of telephone and gateway must agree within half a minute; {_RESET}",
    ),
    Verdict(115, _FACTOR, "spent", "The code, or a later one, was used before.", "wait for the next code"),
    Verdict(116, _FACTOR, "gone", "The second factor was taken away at this moment.", "log in again"),
    Verdict(
        117,
        _FACTOR,
        "pending-over",
        "The login that it should complete is over, was completed, or was for something else.",
        "log in again, and show the factor within five minutes",
    ),
    Verdict(
        118,
        _FACTOR,
        "enrolment-over",
        "The secret that should be confirmed is not known, or was confirmed before.",
        "begin to set the app up again, and confirm it within 15 minutes",
    ),
    Verdict(
        119,
        _FACTOR,
        "not-first",
        "The user has a second factor by now, which has to be shown before another one is set up.",
        "log in again, with that factor",
    ),
    Verdict(120, _FACTOR, "user-disabled", "The user of the passkey is disabled or was removed.", _ENABLE),
    Verdict(121, _FACTOR, "malformed", "What came is not what WebAuthn gives."),
    Verdict(
        122,
        _FACTOR,
        "challenge",
        "The passkey was used for another request than this one, or for one that is over.",
        "try again, within five minutes",
    ),
    Verdict(
        123,
        _FACTOR,
        "origin",
        "The passkey was used on a page of another origin.",
        "open the page under the origin of the issuer, to the letter",
    ),
    Verdict(124, _FACTOR, "rp-id", "The passkey is for another domain.", _DOMAIN),
    Verdict(125, _FACTOR, "cross-origin", "The passkey was used within a frame of another site."),
    Verdict(
        126, _FACTOR, "ceremony", "A passkey was made where one had to be shown, or shown where one had to be made."
    ),
    Verdict(127, _FACTOR, "user-presence", "Nobody has touched the authenticator."),
    Verdict(
        128,
        _FACTOR,
        "user-verification",
        "The authenticator has not verified its user, by a PIN, a fingerprint or a face.",
        "set a PIN for the authenticator, or take another one",
    ),
    Verdict(
        129,
        _FACTOR,
        "user-handle",
        "The passkey belongs to another user, or does not say to whom.",
        "take a passkey of the user whose password it was",
    ),
    Verdict(
        130,
        _FACTOR,
        "unknown-credential",
        "The user does not have this passkey, or no more.",
        "remove it from the browser or the authenticator, and log in otherwise; `gateway users factors EMAIL` has all",
    ),
    Verdict(131, _FACTOR, "known-already", "The user has this very passkey already."),
    Verdict(132, _FACTOR, "signature", "The passkey has not signed what it should have."),
    Verdict(133, _FACTOR, "algorithm", "The authenticator made a key of an algorithm that was not asked for."),
    Verdict(134, _FACTOR, "credential-id", "The passkey that came is not the one that it is said to be."),
    Verdict(135, _FACTOR, "backup-eligibility", "The passkey says of itself what it did not say when it was made."),
    Verdict(136, _FACTOR, "backup-state", "The passkey says that it is backed up, and that it can not be."),
    Verdict(137, _FACTOR, "off", "Second factors are off, and those that there are rest.", "second_factor = optional"),
    Verdict(
        138,
        _FACTOR,
        "user-changed",
        "The factor was right, and at this moment it was taken away, or the user got another password or was disabled.",
        "log in again",
    ),
    Verdict(
        139,
        "rate-limited",
        "second-factor",
        "There were too many second steps of logins from this address, or from the network around it.",
        f"wait as long as Retry-After says, or raise login_limit; {_ONE_PROXY}",
    ),
    Verdict(
        140,
        "rate-limited",
        "passkey",
        "Logins by a passkey alone were begun too often from this address, or from the network around it.",
        f"wait as long as Retry-After says, or raise login_limit; {_ONE_PROXY}",
    ),
    Verdict(
        141,
        "rate-limited",
        "factors",
        "Second factors were begun to be set up too often from this address, or from the network around it.",
        f"wait as long as Retry-After says, or raise login_limit; {_ONE_PROXY}",
    ),
    # ----------------------------------------------------------------------------------------------- personal tokens
    Verdict(
        142,
        _TOKEN,
        "personal-token-misspelt",
        "What came begins like a personal token and is none: it is cut, or has a wrong letter.",
        "copy it again as it was shown, 96 characters from `gwp_` on",
    ),
    Verdict(
        143,
        _TOKEN,
        "personal-token-forged",
        "The personal token was not made by this gateway, or under a secret that it does not have any more.",
        "make another one, or put the secret that it was made under into previous_secrets",
    ),
    Verdict(
        144,
        _TOKEN,
        "personal-token-unknown",
        "The personal token is not known: it was revoked or over some time ago, or its owner was removed.",
        _ANOTHER,
    ),
    Verdict(145, _TOKEN, "personal-token-expired", "The personal token is over.", _ANOTHER),
    Verdict(
        146,
        _TOKEN,
        "personal-token-revoked",
        "The personal token was revoked.",
        f"`gateway audit --user EMAIL` says by whom; {_ANOTHER}",
    ),
    Verdict(147, _TOKEN, "personal-token-user_disabled", "The owner of the personal token is disabled.", _ENABLE),
    Verdict(
        148,
        _TOKEN,
        "personal-token-elsewhere",
        "A personal token was sent where a person has to log in.",
        "personal tokens are for subrequests and /auth/me; everything else takes an access token or a browser session",
    ),
    Verdict(
        149,
        _TOKEN,
        "not-a-person",
        "The access token is that of a machine client, or was made for a personal token, and this path is for people.",
        "such access tokens are for subrequests, and for services that verify them themselves",
    ),
    Verdict(
        150,
        "rate-limited",
        "tokens",
        "Personal tokens were made too often from this address, or from the network around it.",
        f"wait as long as Retry-After says, or raise login_limit; {_ONE_PROXY}",
    ),
    # ----------------------------------------------------------------------------------------------- machine clients
    Verdict(
        151,
        "rate-limited",
        "oauth",
        "Clients asked for tokens, or failed to authenticate, too often from this address, or the network around it.",
        f"wait as long as Retry-After says, or raise refresh_limit; {_ONE_PROXY}",
    ),
    Verdict(
        152,
        "rate-limited",
        "oauth-client",
        "The client asked for tokens too often.",
        "let it keep an access token for as long as expires_in says, or raise refresh_limit",
    ),
    Verdict(153, _OAUTH, "", "The request is not as OAuth 2.0 has it.", _OAUTH_DOCS),
    Verdict(154, _OAUTH, "parameter-missing", "A parameter is missing.", _OAUTH_DOCS),
    Verdict(155, _OAUTH, "parameter-repeated", "A parameter came twice.", _OAUTH_DOCS),
    Verdict(
        156,
        _OAUTH,
        "parameter-in-query",
        "A parameter was in the query of the URL, where logs keep it.",
        "send a form in the body; take another secret if it was one",
    ),
    Verdict(157, _OAUTH, "body-unreadable", "The body was not an urlencoded form.", _OAUTH_DOCS),
    Verdict(
        158,
        _OAUTH,
        "two-authentications",
        "The client authenticated in two ways at once, or named two clients.",
        "send the secret in the header or in the form, not in both",
    ),
    Verdict(159, _CLIENT, "", "The client could not be authenticated.", _CLIENTS),
    Verdict(160, _CLIENT, "credentials-missing", "Nothing came with which a client authenticates.", _OAUTH_DOCS),
    Verdict(161, _CLIENT, "credentials-malformed", "The header Authorization was not that of a client.", _OAUTH_DOCS),
    Verdict(162, _CLIENT, "unknown-client", "There is no such client.", _CLIENTS),
    Verdict(
        163,
        _CLIENT,
        "wrong-secret",
        "The secret is not the client's, or no longer.",
        "`gateway clients new-secret CLIENT_ID` gives it another one",
    ),
    Verdict(164, _CLIENT, "client-removed", "The client was removed.", "`gateway clients add NAME` adds another one"),
    Verdict(165, _CLIENT, "wrong-client-id", "The form and the assertion name different clients.", _OAUTH_DOCS),
    Verdict(166, _CLIENT, "assertion-malformed", "The assertion is not a JWT that is taken here.", _OAUTH_DOCS),
    Verdict(
        167,
        _CLIENT,
        "assertion-key-unknown",
        "The client has no key of the kid and alg that the assertion names.",
        "`gateway clients set-key CLIENT_ID FILE` gives it other keys",
    ),
    Verdict(
        168,
        _CLIENT,
        "assertion-signature",
        "The assertion was not signed by a key of the client.",
        "`gateway clients set-key CLIENT_ID FILE` gives it other keys",
    ),
    Verdict(
        169,
        _CLIENT,
        "assertion-audience",
        "The assertion was meant for another server: its aud is not the issuer, to the letter, and alone.",
        "let the client take the issuer for aud, not the token endpoint",
    ),
    Verdict(
        170,
        _CLIENT,
        "assertion-time",
        "The assertion was expired, from the future, or good for more than an hour.",
        _NTP,
    ),
    Verdict(
        171,
        _CLIENT,
        "assertion-used",
        "An assertion with this jti came before.",
        "let the client sign a new one for each request",
    ),
    Verdict(172, "invalid-grant", "", "A client wanted to revoke a token that was issued to somebody else."),
    Verdict(
        173,
        "unsupported-grant-type",
        "",
        "A client asked for a token in another way than client_credentials.",
        _OAUTH_DOCS,
    ),
    Verdict(
        174,
        "unsupported-token-type",
        "",
        "A client wanted to revoke a refresh token or a personal token.",
        "a logout ends a refresh token; its owner revokes a personal token",
    ),
    Verdict(
        175,
        "invalid-scope",
        "",
        "A client asked for a scope that is none of its roles.",
        "leave scope out for all roles",
    ),
    Verdict(176, "invalid-target", "", "A client asked for a token for an audience that is none of its own.", _CLIENTS),
    Verdict(
        177,
        "invalid-target",
        "audience-foreign",
        "A client asked for a token for an audience that is none of its own, or not in the settings.",
        "`gateway clients list` has its audiences, the setting audiences those that there are",
    ),
    Verdict(178, "invalid-target", "audience-ambiguous", "A client asked for a token for several audiences."),
    Verdict(179, "invalid-target", "resource-malformed", "The resource was not an absolute URI without a fragment."),
    Verdict(
        180,
        _STORE,
        "status-index",
        "A new session could not be given its place in a list of ended sessions.",
        "what lies in the key status-index makes no sense: remove that key, and a new list begins",
    ),
)

_BY_CAUSE = {(verdict.slug, verdict.cause): verdict for verdict in VERDICTS}
_BY_CODE = {verdict.code: verdict for verdict in VERDICTS}
INTERNAL_ERROR = _BY_CAUSE["internal-error", ""]
