// A machine client and a resource server with Spring Security: see tests/interop/test_machine_clients.py for what goes
// in and what is printed. Spring revokes nothing by itself: that is a form and a password.

import com.fasterxml.jackson.databind.*;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.RSAKey;
import java.net.URI;
import java.nio.file.*;
import java.security.KeyFactory;
import java.security.interfaces.RSAPrivateCrtKey;
import java.security.interfaces.RSAPublicKey;
import java.security.spec.*;
import java.util.*;
import org.springframework.http.*;
import org.springframework.security.oauth2.client.endpoint.*;
import org.springframework.security.oauth2.client.registration.*;
import org.springframework.security.oauth2.core.*;
import org.springframework.security.oauth2.jwt.*;
import org.springframework.security.oauth2.server.resource.introspection.*;
import org.springframework.util.LinkedMultiValueMap;
import org.springframework.web.client.*;

public class WithSpring {
    static final Map<String, String> ENV = System.getenv();
    static final String ISSUER = ENV.get("ISSUER"), AUDIENCE = ENV.get("AUDIENCE");
    static final String ID = ENV.get("CLIENT_ID"), SECRET = ENV.get("CLIENT_SECRET");

    public static void main(String[] arguments) throws Exception {
        go(ClientAuthenticationMethod.CLIENT_SECRET_BASIC, ID, SECRET);
        go(ClientAuthenticationMethod.CLIENT_SECRET_POST, ID, SECRET);
        go(ClientAuthenticationMethod.PRIVATE_KEY_JWT, ENV.get("KEY_CLIENT_ID"), "unused");
        try {
            token(registration(ClientAuthenticationMethod.CLIENT_SECRET_BASIC, ID, "wrong"));
        } catch (OAuth2AuthorizationException refused) {
            print(Map.of("method", "wrong secret", "error", refused.getError().getErrorCode()));
        }
    }

    static ClientRegistration registration(ClientAuthenticationMethod method, String id, String secret) {
        return ClientRegistrations.fromIssuerLocation(ISSUER).clientId(id).clientSecret(secret)
            .clientAuthenticationMethod(method)
            .authorizationGrantType(AuthorizationGrantType.CLIENT_CREDENTIALS).build();
    }

    static OAuth2AccessToken token(ClientRegistration registration) throws Exception {
        var client = new RestClientClientCredentialsTokenResponseClient();
        JWK key = readKey();
        var assertion = new NimbusJwtClientAuthenticationParametersConverter<OAuth2ClientCredentialsGrantRequest>(
            (asking) -> key);
        // Its audience is the token endpoint unless it is told: RFC 10070 wants the issuer.
        assertion.setJwtClientAssertionCustomizer((made) -> made.getClaims().audience(List.of(ISSUER)));
        client.addParametersConverter(assertion);
        var audience = new LinkedMultiValueMap<String, String>(Map.of("audience", List.of(AUDIENCE)));
        client.addParametersConverter((asking) -> audience);
        return client.getTokenResponse(new OAuth2ClientCredentialsGrantRequest(registration)).getAccessToken();
    }

    static JWK readKey() throws Exception {
        var pem = Files.readString(Path.of(ENV.get("KEY_RSA"))).replaceAll("-----[^-]+-----|\\s", "");
        var factory = KeyFactory.getInstance("RSA");
        var key = (RSAPrivateCrtKey) factory.generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
        var open = new RSAPublicKeySpec(key.getModulus(), key.getPublicExponent());
        return new RSAKey.Builder((RSAPublicKey) factory.generatePublic(open)).privateKey(key).build();
    }

    static void go(ClientAuthenticationMethod method, String id, String secret) throws Exception {
        ClientRegistration registration = registration(method, id, secret);
        OAuth2AccessToken token = token(registration);
        NimbusJwtDecoder decoder = NimbusJwtDecoder.withIssuerLocation(ISSUER).validateType(false).build();
        decoder.setJwtValidator(JwtValidators.createAtJwtValidator().issuer(ISSUER).audience(AUDIENCE).clientId(id).build());
        Map<String, Object> line = new TreeMap<>(Map.of("method", method.getValue()));
        line.put("tokens", Map.of("token_type", token.getTokenType().getValue()));
        line.put("verified", plain(decoder.decode(token.getTokenValue()).getClaims()));
        line.put("used", use(token));
        Map<String, Object> endpoints = registration.getProviderDetails().getConfigurationMetadata();
        OpaqueTokenIntrospector introspector = SpringOpaqueTokenIntrospector
            .withIntrospectionUri(endpoints.get("introspection_endpoint").toString()).clientId(ID).clientSecret(SECRET)
            .build();
        line.put("introspected", plain(introspector.introspect(token.getTokenValue()).getAttributes()));
        if (id.equals(ID)) {  // the other client has no secret to revoke with
            revoke(endpoints.get("revocation_endpoint").toString(), token);
            try {
                introspector.introspect(token.getTokenValue());
                line.put("introspectedAfter", Map.of("active", true));
            } catch (BadOpaqueTokenException refused) {
                line.put("introspectedAfter", Map.of("active", false));
            }
            line.put("usedAfter", use(token));
        }
        print(line);
    }

    static void revoke(String endpoint, OAuth2AccessToken token) {
        RestClient.create().post().uri(endpoint).headers((headers) -> headers.setBasicAuth(ID, SECRET))
            .contentType(MediaType.APPLICATION_FORM_URLENCODED).body("token=" + token.getTokenValue())
            .retrieve().toBodilessEntity();
    }

    static int use(OAuth2AccessToken token) {
        return RestClient.create().get().uri(URI.create(ENV.get("PROTECTED")))
            .header("Authorization", "Bearer " + token.getTokenValue())
            .exchange((request, answer) -> answer.getStatusCode().value());
    }

    static Map<String, Object> plain(Map<String, Object> claims) {
        Map<String, Object> found = new TreeMap<>(claims);
        found.replaceAll((name, value) -> value instanceof java.time.Instant time ? (Object) time.getEpochSecond() : value);
        found.replaceAll((name, value) -> value instanceof java.net.URL url ? url.toString() : value);
        return found;
    }

    static void print(Map<String, Object> line) throws Exception {
        System.out.println(new ObjectMapper().writeValueAsString(line));
    }
}
