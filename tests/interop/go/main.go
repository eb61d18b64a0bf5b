// A machine client with golang.org/x/oauth2/clientcredentials, and a resource server with go-oidc: see
// tests/interop/test_machine_clients.py for what goes in and what is printed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

var (
	ctx                    = context.Background()
	audience, protected    = os.Getenv("AUDIENCE"), os.Getenv("PROTECTED")
	clientID, clientSecret = os.Getenv("CLIENT_ID"), os.Getenv("CLIENT_SECRET")
)

type object = map[string]any

// Neither library introspects or revokes: both are a form and a password.
func ask(endpoint, token string) object {
	form := url.Values{"token": {token}}.Encode()
	request := must(http.NewRequest("POST", endpoint, bytes.NewBufferString(form)))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(clientID, clientSecret)
	answer := must(http.DefaultClient.Do(request))
	defer answer.Body.Close()
	if answer.StatusCode != 200 {
		panic(answer.Status)
	}
	var told object
	json.NewDecoder(answer.Body).Decode(&told)
	return told
}

func main() {
	provider := must(oidc.NewProvider(ctx, os.Getenv("ISSUER")))
	var endpoints struct {
		Introspection string `json:"introspection_endpoint"`
		Revocation    string `json:"revocation_endpoint"`
	}
	if err := provider.Claims(&endpoints); err != nil {
		panic(err)
	}
	config := clientcredentials.Config{
		ClientID: clientID, ClientSecret: clientSecret, TokenURL: provider.Endpoint().TokenURL,
		EndpointParams: url.Values{"audience": {audience}},
	}
	styles := map[string]oauth2.AuthStyle{
		"client_secret_basic": oauth2.AuthStyleInHeader,
		"client_secret_post":  oauth2.AuthStyleInParams,
		"tried out":           oauth2.AuthStyleAutoDetect,
	}
	for method, style := range styles {
		config.AuthStyle = style
		source := config.TokenSource(ctx)
		tokens := must(source.Token())
		var verified object
		if err := must(provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, tokens.AccessToken)).Claims(&verified); err != nil {
			panic(err)
		}
		client := oauth2.NewClient(ctx, source)
		used := must(client.Get(protected)).StatusCode
		introspected := ask(endpoints.Introspection, tokens.AccessToken)
		ask(endpoints.Revocation, tokens.AccessToken)
		introspectedAfter := ask(endpoints.Introspection, tokens.AccessToken)
		usedAfter := must(client.Get(protected)).StatusCode
		print(object{
			"method": method, "verified": verified, "used": used, "introspected": introspected, "usedAfter": usedAfter,
			"introspectedAfter": introspectedAfter,
			"tokens":            object{"token_type": tokens.TokenType},
		})
	}
	config.AuthStyle = oauth2.AuthStyleInHeader
	config.ClientSecret = "wrong"
	_, err := config.Token(ctx)
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		print(object{"method": "wrong secret", "error": refused.ErrorCode, "status": refused.Response.StatusCode})
	}
}

func print(line object) {
	fmt.Println(string(must(json.Marshal(line))))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
