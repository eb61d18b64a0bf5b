// A machine client with Nimbus oauth2-oidc-sdk: see tests/interop/test_machine_clients.py for what goes in and out.

import com.nimbusds.jose.*;
import com.nimbusds.jose.jwk.source.*;
import com.nimbusds.jose.proc.*;
import com.nimbusds.jwt.*;
import com.nimbusds.jwt.proc.*;
import com.nimbusds.oauth2.sdk.*;
import com.nimbusds.oauth2.sdk.as.AuthorizationServerMetadata;
import com.nimbusds.oauth2.sdk.auth.*;
import com.nimbusds.oauth2.sdk.http.HTTPRequest;
import com.nimbusds.oauth2.sdk.id.*;
import com.nimbusds.oauth2.sdk.token.*;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import java.net.URI;
import java.nio.file.*;
import java.security.KeyFactory;
import java.security.interfaces.ECPrivateKey;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.*;
import net.minidev.json.JSONObject;

public class WithNimbus {
    static final Map<String, String> ENV = System.getenv();
    static final Issuer ISSUER = new Issuer(ENV.get("ISSUER"));
    static AuthorizationServerMetadata server;

    public static void main(String[] arguments) throws Exception {
        OIDCProviderMetadata.resolve(ISSUER);
        server = AuthorizationServerMetadata.resolve(ISSUER);
        ClientID id = new ClientID(ENV.get("CLIENT_ID"));
        Secret secret = new Secret(ENV.get("CLIENT_SECRET"));
        go("client_secret_basic", () -> new ClientSecretBasic(id, secret));
        go("client_secret_post", () -> new ClientSecretPost(id, secret));
        ClientID keyId = new ClientID(ENV.get("KEY_CLIENT_ID"));
        var pem = Files.readString(Path.of(ENV.get("KEY_EC"))).replaceAll("-----[^-]+-----|\\s", "");
        var ec = (ECPrivateKey) KeyFactory.getInstance("EC")
            .generatePrivate(new PKCS8EncodedKeySpec(java.util.Base64.getDecoder().decode(pem)));
        go("private_key_jwt ES256", () ->
            new PrivateKeyJWT(keyId, URI.create(ISSUER.getValue()), JWSAlgorithm.ES256, ec, null, null));
        var refused = token(new ClientSecretBasic(id, new Secret("wrong"))).toErrorResponse().getErrorObject();
        print(Map.of("method", "wrong secret", "error", refused.getCode(), "status", refused.getHTTPStatusCode()));
    }

    interface Authentication {
        ClientAuthentication make() throws Exception;  // an assertion is good once
    }

    static void go(String method, Authentication authentication) throws Exception {
        AccessToken token = token(authentication.make()).toSuccessResponse().getTokens().getAccessToken();
        var keys = JWKSourceBuilder.create(server.getJWKSetURI().toURL()).build();
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, keys));
        processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(ENV.get("AUDIENCE"),
            new JWTClaimsSet.Builder().issuer(ISSUER.getValue()).build(), Set.of("sub", "exp", "iat", "jti", "client_id")));
        Map<String, Object> line = new TreeMap<>(Map.of("method", method));
        line.put("tokens", Map.of("token_type", token.getType().getValue(), "expires_in", token.getLifetime()));
        line.put("verified", processor.process(token.getValue(), null).toJSONObject());
        line.put("used", use(token));
        line.put("introspected", introspect(authentication, token));
        var revocation = new TokenRevocationRequest(server.getRevocationEndpointURI(), authentication.make(), token);
        revocation.toHTTPRequest().send().ensureStatusCode(200);
        line.put("introspectedAfter", introspect(authentication, token));
        line.put("usedAfter", use(token));
        print(line);
    }

    static TokenResponse token(ClientAuthentication authentication) throws Exception {
        var request = new TokenRequest.Builder(
            server.getTokenEndpointURI(), authentication, new ClientCredentialsGrant())
            .resource(URI.create(ENV.get("AUDIENCE"))).build();
        return TokenResponse.parse(request.toHTTPRequest().send());
    }

    static Map<String, Object> introspect(Authentication authentication, AccessToken token) throws Exception {
        var request = new TokenIntrospectionRequest(server.getIntrospectionEndpointURI(), authentication.make(), token);
        return TokenIntrospectionResponse.parse(request.toHTTPRequest().send()).toSuccessResponse().toJSONObject();
    }

    static int use(AccessToken token) throws Exception {
        var request = new HTTPRequest(HTTPRequest.Method.GET, URI.create(ENV.get("PROTECTED")));
        request.setAuthorization(token.toAuthorizationHeader());
        return request.send().getStatusCode();
    }

    static void print(Map<String, Object> line) {
        System.out.println(new JSONObject(line).toJSONString());
    }
}
