"""The store: Redis under deadlines and its errors as ours; whether it is fit; and the private one."""

from gateway.store.data_dir import private_secret
from gateway.store.fitness import ServerLook, check_server, doubtful_url, examine_server, watch_server
from gateway.store.private import PrivateRedis, open_private_redis, serving_address
from gateway.store.store import Script, Store, StreamEntry, request_budget, wait_within_budget

__all__ = [
    "Script",
    "Store",
    "StreamEntry",
    "request_budget",
    "wait_within_budget",
    "ServerLook",
    "check_server",
    "doubtful_url",
    "examine_server",
    "watch_server",
    "private_secret",
    "PrivateRedis",
    "open_private_redis",
    "serving_address",
]
