package guard_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/guard"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/auth/token"
	"navarch.dev/navarch/services/store/storetest"
)

// world is a Store, which knows a few tokens, and the guard of node n1, which
// asks it as the node's agent.
type world struct {
	t       *testing.T
	admin   *client.Client
	asked   *counted
	handler http.Handler
	user    atomic.Pointer[identity.Identity] // whom the handler has let in last
}

// counted counts what is asked of a Store, and may be cut off from it.
type counted struct {
	*client.Client

	mu               sync.Mutex // guards what follows
	tokens, accesses int
	away             bool
}

func (c *counted) Create(ctx context.Context, review kinds.Object) error {
	c.mu.Lock()
	switch review.(type) {
	case *authenticationv1.TokenReview:
		c.tokens++
	case *authorizationv1.SubjectAccessReview:
		c.accesses++
	}
	away := c.away
	c.mu.Unlock()
	if away {
		return apierrors.NewServiceUnavailable("the Store is away")
	}
	return c.Client.Create(ctx, review)
}

// take returns how many reviews there were since it was called last.
func (c *counted) take() (tokens, accesses int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tokens, accesses = c.tokens, c.accesses
	c.tokens, c.accesses = 0, 0
	return tokens, accesses
}

func (c *counted) setAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

func inWorld(t *testing.T, test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		static, err := token.ReadStatic(strings.NewReader("ann-token,ann,1,devs\nbob-token,bob,2\nprometheus-token,prometheus,3\nadmin-token,root,4,system:masters\ndora-token,dora,5\nfred-token,fred,6\n"))
		if err != nil {
			t.Fatal(err)
		}
		cfg := auth.DefaultConfig()
		cfg.Static = static
		store := storetest.New(t, storetest.WithControl(auth.New(cfg)), storetest.WithSeed(auth.Bootstrap()...))
		w := &world{t: t, admin: store.Client(storetest.Admin()), asked: &counted{Client: store.Client(identity.Node("n1"))}}
		w.handler = guard.New("n1", w.asked, slog.New(slog.DiscardHandler)).Protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("the credentials are handed on")
			}
			user := identity.FromContext(r.Context())
			w.user.Store(&user)
		}))
		test(w)
	})
}

// grant lets a user do something to nodes, of all names if none are given.
func (w *world) grant(user, verb, resource string, names ...string) {
	w.t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "grant-" + user}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: names},
	}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}},
	}
	for _, obj := range []kinds.Object{role, binding} {
		if err := w.admin.Create(w.t.Context(), obj); err != nil {
			w.t.Fatal(err)
		}
	}
	synctest.Wait()
}

// ask makes a request with a token; change may do more to it.
func (w *world) ask(method, path, bearer string, change func(*http.Request)) (int, string) {
	w.t.Helper()
	r := httptest.NewRequest(method, path, nil)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if change != nil {
		change(r)
	}
	w.user.Store(nil)
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	body, err := io.ReadAll(rec.Result().Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return rec.Code, string(body)
}

// certificate gives a request a client certificate that was verified.
func certificate(user string, groups ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: user, Organization: groups}}}}}
	}
}

func TestWhoMayReadWhat(t *testing.T) {
	inWorld(t, func(w *world) {
		w.grant("ann", "get", "nodes/metrics")
		w.grant("bob", "get", "nodes/pods", "n2")
		w.grant("dora", "get", "nodes/pods", "n1")
		w.grant("fred", "get", "nodes/proxy")
		w.grant("prometheus", "*", "nodes/proxy")
		forbidden := func(user, verb, subresources string) string {
			return "Forbidden (user=" + user + ", verb=" + verb + ", resource=nodes, subresource(s)=[" + subresources + "])\n"
		}
		for _, tt := range []struct {
			what, method, path, token string
			change                    func(*http.Request)
			code                      int
			body                      string
		}{
			{"nobody", "GET", "/metrics", "", nil, 401, "Unauthorized"},
			{"an unknown token", "GET", "/metrics", "eve-token", nil, 401, "Unauthorized"},
			{"another scheme", "GET", "/metrics", "", func(r *http.Request) { r.SetBasicAuth("ann", "ann-token") }, 401, "Unauthorized"},
			{"a token without a scheme", "GET", "/metrics", "", func(r *http.Request) { r.Header.Set("Authorization", "ann-token") }, 401, "Unauthorized"},
			{"an empty token", "GET", "/metrics", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, 401, "Unauthorized"},
			{"health is asked for by those who may, too", "GET", "/healthz", "", nil, 401, "Unauthorized"},
			{"the right", "GET", "/metrics", "ann-token", nil, 200, ""},
			{"another page of it", "GET", "/metrics/cadvisor", "ann-token", nil, 200, ""},
			{"another subresource", "GET", "/stats/summary", "ann-token", nil, 403, forbidden("ann", "get", "stats")},
			{"another verb", "POST", "/metrics", "ann-token", nil, 403, forbidden("ann", "create", "metrics")},
			{"a method without a verb", "HEAD", "/metrics", "ann-token", nil, 403, forbidden("ann", "", "metrics")},
			{"another node", "GET", "/pods", "bob-token", nil, 403, forbidden("bob", "get", "pods proxy")},
			{"this node", "GET", "/pods", "dora-token", nil, 200, ""},
			{"no right", "PUT", "/unknown", "bob-token", nil, 403, forbidden("bob", "update", "proxy")},
			{"reading is no right to run", "GET", "/exec/default/web/c", "fred-token", nil, 403, forbidden("fred", "create", "proxy")},
			{"reading is one to the logs", "GET", "/containerLogs/default/web/c", "fred-token", nil, 200, ""},
			{"the right to run", "GET", "/exec/default/web/c", "prometheus-token", nil, 200, ""},
			{"the right to all", "GET", "/pods", "prometheus-token", nil, 200, ""},
			{"what is none of all", "DELETE", "/logs/", "prometheus-token", nil, 403, forbidden("prometheus", "delete", "log")},
			{"a group", "PATCH", "/checkpoint/a/b/c", "admin-token", nil, 200, ""},
			{"a certificate", "GET", "/metrics", "", certificate("ann"), 200, ""},
			{"a certificate before a token", "GET", "/metrics", "ann-token", certificate("carl"), 403, forbidden("carl", "get", "metrics")},
			{"an administrator's certificate", "GET", "/configz", "", certificate("root", identity.GroupMasters), 200, ""},
			{"the gateway's certificate is no right to pages", "GET", "/pods", "", certificate(identity.Gateway, identity.GroupGateways), 403,
				forbidden(identity.Gateway, "get", "pods proxy")},
			{"a certificate of nobody", "GET", "/metrics", "", certificate(""), 401, "Unauthorized"},
		} {
			code, body := w.ask(tt.method, tt.path, tt.token, tt.change)
			if code != tt.code || body != tt.body || (code == 200) != (w.user.Load() != nil) {
				t.Errorf("%s: %d %q as %+v, want %d %q", tt.what, code, body, w.user.Load(), tt.code, tt.body)
			}
		}
	})
}

func TestAnswersAreRemembered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.grant("ann", "get", "nodes/metrics")
		ask := func(path, token string, want, tokens, accesses int) {
			t.Helper()
			code, body := w.ask("GET", path, token, nil)
			gotTokens, gotAccesses := w.asked.take()
			if code != want || gotTokens != tokens || gotAccesses != accesses {
				t.Errorf("%s of %s: %d %q after %d and %d reviews, want %d after %d and %d", path, token, code, body, gotTokens, gotAccesses, want, tokens, accesses)
			}
		}
		ask("/metrics", "ann-token", 200, 1, 1)
		ask("/metrics", "ann-token", 200, 0, 0)
		ask("/metrics/resource", "ann-token", 200, 0, 0)
		ask("/metrics", "bob-token", 403, 1, 1)
		ask("/metrics", "nobody", 401, 1, 0)
		ask("/metrics", "nobody", 401, 0, 0)
		time.Sleep(29 * time.Second)
		ask("/metrics", "bob-token", 403, 0, 0)
		time.Sleep(2 * time.Second)
		ask("/metrics", "bob-token", 403, 0, 1)
		time.Sleep(90 * time.Second) // 121 s
		ask("/metrics", "ann-token", 200, 1, 0)
		ask("/metrics", "nobody", 401, 1, 0)
		time.Sleep(3 * time.Minute) // 301 s
		ask("/metrics", "ann-token", 200, 1, 1)
	})
}

func TestManyAskWithOneToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.asked.setAway(true) // until all wait
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				r := httptest.NewRequest("GET", "/metrics", nil)
				r.Header.Set("Authorization", "Bearer admin-token")
				rec := httptest.NewRecorder()
				w.handler.ServeHTTP(rec, r)
				if rec.Code != 403 && rec.Code != 200 {
					t.Errorf("%d %s", rec.Code, rec.Body)
				}
			})
		}
		synctest.Wait()
		w.asked.setAway(false)
		wg.Wait()
		if tokens, _ := w.asked.take(); tokens != 2 { // one that failed, one that did not
			t.Errorf("the token was reviewed %d times", tokens)
		}
	})
}

func TestStoreAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.grant("ann", "get", "nodes/metrics")
		if code, body := w.ask("GET", "/metrics", "ann-token", nil); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		w.asked.setAway(true)
		for _, tt := range []struct {
			what, token string
			change      func(*http.Request)
			code        int
			body        string
		}{
			{"what is remembered", "ann-token", nil, 200, ""},
			{"a token", "bob-token", nil, 401, "Unauthorized"},
			{"a certificate", "", certificate("carl"), 500, "Authorization error (user=carl, verb=get, resource=nodes, subresource=metrics)"},
		} {
			if code, body := w.ask("GET", "/metrics", tt.token, tt.change); code != tt.code || body != tt.body {
				t.Errorf("%s: %d %q, want %d %q", tt.what, code, body, tt.code, tt.body)
			}
		}
		w.asked.setAway(false)
		w.asked.take()
		if code, body := w.ask("GET", "/metrics", "bob-token", nil); code != 403 {
			t.Errorf("that a token could not be reviewed is remembered: %d %s", code, body)
		}
	})
}
