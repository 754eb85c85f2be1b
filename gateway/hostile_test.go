package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/gateway"
)

const (
	// hostileRequests is how many requests the test makes, and hostileSeed what
	// they are made from: the same number again makes the same requests.
	hostileRequests = 10_000
	hostileSeed     = 20_261_122
	hostileWorkers  = 4
	maxFailures     = 20
	// heapGrowth is what the heap may grow by while all of them are refused.
	heapGrowth = 24 << 20
)

// attack is one request that has to be refused.
type attack struct {
	method, target string
	header         []string
	body           []byte
	// codes are the right answers.
	codes []int
}

// TestHostileInput sends requests that no honest client sends. Each is refused
// with a Status that says it is the client's fault, none is refused by a panic
// or not at all, nothing gets in, and an honest request is answered in between.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{}, func(cfg *gateway.Config) { cfg.RequestTimeout = 2 * time.Minute })
	admin := c.http("admin")
	admin.Timeout = 3 * time.Minute // nothing hangs
	if a := c.do(admin, "POST", configMaps, object("target")); a.code != 201 {
		t.Fatalf("create: %d %s", a.code, a.body)
	}
	before := c.do(admin, "GET", configMaps, nil)
	makers := attackMakers()
	h := &hostile{cluster: c, client: admin}
	h.round(t, makers, 0, hostileRequests/20) // caches and pools fill
	heap := heapInUse()
	h.round(t, makers, hostileRequests/20, hostileRequests)
	if grown := int64(heapInUse()) - int64(heap); grown > heapGrowth {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	if after := c.do(admin, "GET", configMaps, nil); after.body != before.body {
		t.Errorf("something got in:\n%s\nwas:\n%s", after.body, before.body)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type hostile struct {
	*cluster
	client   *http.Client
	failures atomic.Int32
}

// fail notes a wrong answer. The first few tell enough.
func (h *hostile) fail(format string, args ...any) {
	h.failures.Add(1)
	h.t.Errorf(format, args...)
}

// round makes the attacks of the numbers from first to last.
func (h *hostile) round(t *testing.T, makers []maker, first, last int) {
	t.Helper()
	var wg sync.WaitGroup
	for worker := range hostileWorkers {
		wg.Go(func() {
			for n := first + worker; n < last && h.failures.Load() < maxFailures; n += hostileWorkers {
				random := rand.New(rand.NewPCG(hostileSeed, uint64(n)))
				m := makers[n%len(makers)]
				h.attack(t, fmt.Sprintf("%s (request %d)", m.name, n), m.make(random))
				if n%50 == 0 {
					if code, body := h.send(t, "an honest request", attack{method: "GET", target: configMaps + "/target"}); code != 200 {
						h.fail("an honest request: %d %s", code, body)
					}
				}
			}
		})
	}
	wg.Wait()
}

// attack makes one request and judges the answer.
func (h *hostile) attack(t *testing.T, name string, a attack) {
	code, body := h.send(t, name, a)
	shown := fmt.Sprintf("%s: %s %.200s %.100q %.200q: %d %.500s", name, a.method, a.target, a.header, a.body, code, body)
	if !slices.Contains(a.codes, code) {
		h.fail("%s\nwant one of %v", shown, a.codes)
		return
	}
	var s metav1.Status
	plain := code == 404 && strings.HasPrefix(body, "404 page not found") || code == 431 || body == "400 Bad Request" || a.method == "HEAD"
	if err := json.Unmarshal([]byte(body), &s); (err != nil || int(s.Code) != code || s.Reason == "" || s.Message == "") && !plain {
		h.fail("%s\nwhich is not the Status of a %d", shown, code)
	}
}

// send makes a request with the target as it is, however wrong that is.
func (h *hostile) send(t *testing.T, name string, a attack) (int, string) {
	req, err := http.NewRequestWithContext(t.Context(), a.method, h.address, bytes.NewReader(a.body))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	path, query, _ := strings.Cut(a.target, "?")
	req.URL.Opaque, req.URL.RawQuery = path, query
	for i := 0; i+1 < len(a.header); i += 2 {
		req.Header.Add(a.header[i], a.header[i+1])
	}
	resp, err := h.client.Do(req)
	if err != nil {
		h.fail("%s: %v", name, err)
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.fail("%s: %v", name, err)
	}
	return resp.StatusCode, string(body)
}

// TestSlowBodies: a client that sends its body too slowly is told so, and its
// connection is not kept.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{}, func(cfg *gateway.Config) { cfg.RequestTimeout = 100 * time.Millisecond })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			body, writer := io.Pipe()
			defer writer.Close()
			go func() { _, _ = writer.Write([]byte(`{"metadata":`)) }()
			method, path := "POST", configMaps
			if i%2 == 1 {
				method, path = "PUT", configMaps+"/slow"
			}
			a := c.do(c.http("admin"), method, path, body)
			if a.code != http.StatusRequestTimeout || !strings.Contains(a.body, `"reason":"Timeout"`) {
				t.Errorf("%d %s", a.code, a.body)
			}
		})
	}
	wg.Wait()
}

// FuzzWrite sends bodies of every content type to every writing path: whatever
// they hold, the answer is no server error.
func FuzzWrite(f *testing.F) {
	f.Add(uint8(0), uint8(0), []byte(`{"metadata":{"name":"a"}}`))
	f.Add(uint8(1), uint8(1), []byte("a: &a [*a]"))
	f.Add(uint8(2), uint8(3), []byte(`[{"op":"copy","from":"","path":"/data"}]`))
	f.Add(uint8(2), uint8(4), []byte(`{"metadata":null}`))
	f.Add(uint8(2), uint8(5), []byte(`{"data":{"$patch":"replace"},"$setElementOrder/x":1}`))
	f.Add(uint8(2), uint8(6), []byte("apiVersion: v1\nkind: ConfigMap\n"))
	f.Add(uint8(3), uint8(0), []byte(`{"gracePeriodSeconds":-1}`))
	f.Add(uint8(0), uint8(2), []byte("k8s\x00\x0a\x04\x0a\x02v1"))
	c := start(f, noNodes{})
	admin := c.http("admin")
	if a := c.do(admin, "POST", configMaps, object("target")); a.code != 201 {
		f.Fatalf("create: %d %s", a.code, a.body)
	}
	methods := []string{"POST", "PUT", "PATCH", "DELETE"}
	types := []string{
		"application/json", "application/yaml", "application/vnd.kubernetes.protobuf",
		"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml",
	}
	f.Fuzz(func(t *testing.T, method, media uint8, body []byte) {
		m := methods[int(method)%len(methods)]
		path := configMaps
		if m != "POST" {
			path += "/target"
		}
		path += "?dryRun=All&fieldManager=f"
		if m == "DELETE" {
			path = "/api/v1/namespaces/default/secrets/none"
		}
		inner := *c
		inner.t = t // the fuzz target's own may not be used here
		a := inner.do(admin, m, path, bytes.NewReader(body), "Content-Type", types[int(media)%len(types)])
		if a.code >= 500 {
			t.Errorf("%s %s: %d %s", m, types[int(media)%len(types)], a.code, a.body)
		}
	})
}

func escaped(s string) string { return url.QueryEscape(s) }
