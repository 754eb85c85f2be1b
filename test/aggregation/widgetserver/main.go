// Command widgetserver is an API server as people deploy it: it runs in a pod,
// learns from the cluster whom to believe, and asks it whether a user may do
// what it is asked for.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"navarch.dev/navarch/test/aggregation/widgetserver/widgets"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: widgetserver ADDRESS")
	}
	if err := serve(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, address string) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	proxies, names, err := trusted(ctx, client)
	if err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/", &guard{client: client, names: names, next: widgets.New(true)})
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: proxies,
	}}
	return server.ListenAndServeTLS("", "")
}

// trusted returns who vouches for front proxies, and their names.
func trusted(ctx context.Context, client kubernetes.Interface) (*x509.CertPool, []string, error) {
	published, err := client.CoreV1().ConfigMaps("kube-system").Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(published.Data["requestheader-client-ca-file"])) {
		return nil, nil, errors.New("no authority of front proxies is published")
	}
	var names []string
	err = json.Unmarshal([]byte(published.Data["requestheader-allowed-names"]), &names)
	return pool, names, err
}

// guard lets in whom a front proxy vouches for, if the cluster allows it.
type guard struct {
	client kubernetes.Interface
	names  []string
	next   http.Handler
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(r.TLS.VerifiedChains) == 0 || !slices.Contains(g.names, r.TLS.PeerCertificates[0].Subject.CommonName) {
		http.Error(w, "this is no front proxy", http.StatusUnauthorized)
		return
	}
	if namespace, ok := listed(r); ok {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: r.Header.Get("X-Remote-User"), Groups: r.Header.Values("X-Remote-Group"),
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: widgets.Group, Version: "v1", Resource: "widgets", Verb: "list", Namespace: namespace},
		}}
		answer, err := g.client.AuthorizationV1().SubjectAccessReviews().Create(r.Context(), review, metav1.CreateOptions{})
		if err != nil || !answer.Status.Allowed {
			http.Error(w, fmt.Sprintf("not allowed: %v", err), http.StatusForbidden)
			return
		}
	}
	g.next.ServeHTTP(w, r)
}

// listed returns the namespace whose widgets a request lists.
func listed(r *http.Request) (namespace string, ok bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/apis/"+widgets.GroupVersion+"/namespaces/")
	namespace, resource, _ := strings.Cut(rest, "/")
	return namespace, ok && resource == "widgets" && r.Method == http.MethodGet
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "widgets"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"widgets.default.svc"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
