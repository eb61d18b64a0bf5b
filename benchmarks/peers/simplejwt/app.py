"""
A Django project in one file, as small as djangorestframework-simplejwt lets it be.

`python app.py` makes the database and its user; then gunicorn serves `app:application`.
"""

import os
from datetime import timedelta

import django
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)

settings.configure(
    SECRET_KEY="a secret for this run alone",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="app",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
    ],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # the answers get their Content-Length here
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],  # noqa: TID251 - the only way into it through gunicorn
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
            },
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    },
    SIMPLE_JWT={
        "ALGORITHM": "RS256",
        "SIGNING_KEY": KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "VERIFYING_KEY": KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
        "ACCESS_TOKEN_LIFETIME": timedelta(hours=1),  # longer than a run
    },
)
application = get_wsgi_application()

# What follows needs the settings.
from django.contrib.auth.models import User  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.permissions import IsAuthenticated  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication  # noqa: E402
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView  # noqa: E402


class Verify(APIView):
    """Nothing but: is this access token good? No database is asked."""

    authentication_classes = [JWTStatelessUserAuthentication]  # noqa: RUF012 - Django REST framework's way
    permission_classes = [IsAuthenticated]  # noqa: RUF012 - the same

    def get(self, request: Request) -> Response:
        """Answer 204."""
        return Response(status=204)


urlpatterns = [
    path("login", TokenObtainPairView.as_view()),
    path("refresh", TokenRefreshView.as_view()),
    path("verify", Verify.as_view()),
]

if __name__ == "__main__":
    django.setup()
    call_command("migrate", verbosity=0)
    User.objects.create_user("ann@example.com", password="correct horse battery staple")
