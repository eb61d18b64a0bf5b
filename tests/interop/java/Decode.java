// Asks a decoder of docs/verifying.md, or the one that Spring Boot makes of `issuer-uri` alone, about one token a line.

import java.io.*;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.security.oauth2.jwt.*;

public class Decode {
    public static void main(String[] arguments) throws Exception {
        JwtDecoder decoder = arguments[0].startsWith("http") ? JwtDecoders.fromIssuerLocation(arguments[0])
            : new AnnotationConfigApplicationContext(Class.forName(arguments[0])).getBean(JwtDecoder.class);
        for (String token : (Iterable<String>) new BufferedReader(new InputStreamReader(System.in)).lines()::iterator) {
            try {
                System.out.println(decoder.decode(token).getSubject());
            } catch (JwtException refused) {
                System.out.println("refused: " + refused.getMessage());
            }
        }
    }
}
