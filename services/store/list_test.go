package store_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

const (
	anyMatch     = storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_UNSPECIFIED
	notOlderThan = storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_NOT_OLDER_THAN
	exactly      = storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_EXACT
)

func configMaps() *storev1.Resource { return &storev1.Resource{Version: "v1", Resource: "configmaps"} }

// listed is what a list shows: "name=i" of every ConfigMap, and how many chunks
// without compression held those.
type listed struct {
	header *storev1.ListHeader
	items  []string
	chunks int
}

// list reads ConfigMaps of the namespace default.
func list(t testing.TB, c *client.Client, req *storev1.ListRequest) (listed, error) {
	t.Helper()
	req.Resource, req.Namespace = configMaps(), "default"
	stream, err := c.Store().List(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var l listed
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return l, apistatus.FromGRPC(err)
		}
		if h := resp.GetHeader(); h != nil {
			l.header = h
		}
		for _, o := range resp.GetObjects().GetObjects() {
			var cm corev1.ConfigMap // of whose metadata alone the message is the same
			if err := cm.Unmarshal(o.GetObject().GetValue()); err != nil {
				t.Fatal(err)
			}
			l.items = append(l.items, cm.Name+"="+cm.Data["i"])
		}
		for _, chunk := range resp.GetChunks().GetChunks() {
			var part corev1.ConfigMapList // as the body of a list would be read
			if err := part.Unmarshal(chunk.GetContent()); err != nil || int64(len(chunk.GetContent())) != chunk.GetSize() {
				t.Fatalf("a chunk of %d bytes, of which there are %d: %v", chunk.GetSize(), len(chunk.GetContent()), err)
			}
			for _, cm := range part.Items {
				l.items = append(l.items, cm.Name+"="+cm.Data["i"])
			}
			l.chunks++
		}
	}
}

// TestJoinedLists reads lists that may be joined, twice with a change between.
func TestJoinedLists(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	const length = 300
	long := strings.Repeat("long ", 200)
	for n := range length {
		cm := configMap(fmt.Sprintf("m-%03d", n), map[string]string{"i": "0", "long": long})
		cm.Labels = map[string]string{"odd": strconv.FormatBool(n%2 == 1)}
		if err := c.Create(t.Context(), cm); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name   string
		req    *storev1.ListRequest
		joined bool
	}{
		{"all", &storev1.ListRequest{}, true},
		{"a page", &storev1.ListRequest{PageSize: 200}, true},
		{"a short page", &storev1.ListRequest{PageSize: 10}, false},
		{"by label", &storev1.ListRequest{LabelSelector: "odd=true"}, false},
		{"by field", &storev1.ListRequest{FieldSelector: "metadata.name!=m-007"}, false},
		{"metadata", &storev1.ListRequest{Projection: storev1.Projection_PROJECTION_METADATA}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 2 {
				changed := new(corev1.ConfigMap)
				if err := c.Get(t.Context(), "default", "m-005", changed); err != nil {
					t.Fatal(err)
				}
				changed.Data["i"] += "!"
				if err := c.Update(t.Context(), changed); err != nil {
					t.Fatal(err)
				}
				plain, err := list(t, c, proto.CloneOf(tc.req))
				if err != nil {
					t.Fatal(err)
				}
				req := proto.CloneOf(tc.req)
				req.Packing = storev1.Packing_PACKING_JOINED
				got, err := list(t, c, req)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(plain.items, got.items); diff != "" || len(got.items) == 0 {
					t.Errorf("joined (-plain +joined):\n%s", diff)
				}
				if (got.chunks > 0) != tc.joined || got.header.GetItemsSize() != plain.header.GetItemsSize() || got.header.GetDeflated() {
					t.Errorf("%d chunks, items of %d bytes; plain of %d", got.chunks, got.header.GetItemsSize(), plain.header.GetItemsSize())
				}
			}
		})
	}
}

// revisions makes a, then b, then changes a, and returns the three versions.
func revisions(t testing.TB, c *client.Client) [3]string {
	t.Helper()
	var at [3]string
	for i, name := range []string{"a", "b", "a"} {
		cm := configMap(name, map[string]string{"i": strconv.Itoa(i)})
		write := c.Create
		if i == 2 {
			write = c.Update
		}
		if err := write(t.Context(), cm); err != nil {
			t.Fatal(err)
		}
		at[i] = cm.ResourceVersion
	}
	return at
}

// What a resourceVersion and its match rule mean, for a Store that has seen the
// writes and for another on the same backend, which has to ask it for the past.
func TestListOfAVersion(t *testing.T) {
	b := memory.New()
	t.Cleanup(func() { _ = b.Close() })
	writer := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	at := revisions(t, writer)
	other := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	now := []string{"a=2", "b=1"}
	for _, tc := range []struct {
		name  string
		rv    string
		match storev1.ResourceVersionMatch
		limit int64
		want  []string
		wrong string
	}{
		{"newest", "", anyMatch, 0, now, ""},
		{"newest, paged", "", anyMatch, 1, now[:1], ""},
		{"any", "0", anyMatch, 0, now, ""},
		{"any, said so", "0", notOlderThan, 0, now, ""},
		{"not older, unsaid", at[0], anyMatch, 0, now, ""},
		{"not older", at[0], notOlderThan, 0, now, ""},
		{"not older, paged", at[0], notOlderThan, 1, now[:1], ""},
		{"paged is exact, unsaid", at[0], anyMatch, 1, []string{"a=0"}, ""},
		{"the first", at[0], exactly, 0, []string{"a=0"}, ""},
		{"the second", at[1], exactly, 0, []string{"a=0", "b=1"}, ""},
		{"the last", at[2], exactly, 0, now, ""},
		{"exactly any", "0", exactly, 0, nil, `"exact" is forbidden for resourceVersion "0"`},
		{"exactly nothing", "", exactly, 0, nil, "forbidden unless resourceVersion is provided"},
		{"no number", "x", anyMatch, 0, nil, `invalid resource version: resourceVersion: Invalid value: "x"`},
		{"negative", "-1", exactly, 0, nil, "invalid resource version"},
	} {
		for who, c := range map[string]*client.Client{"writer": writer, "other": other} {
			t.Run(tc.name+"/"+who, func(t *testing.T) {
				got, err := list(t, c, &storev1.ListRequest{ResourceVersion: tc.rv, ResourceVersionMatch: tc.match, PageSize: tc.limit})
				if tc.wrong != "" {
					if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), tc.wrong) {
						t.Errorf("%v, want %q", err, tc.wrong)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, got.items); diff != "" {
					t.Error(diff)
				}
				if rv := got.header.GetResourceVersion(); tc.match == exactly && rv != tc.rv {
					t.Errorf("the list says it is of %s", rv)
				}
			})
		}
	}
}

// A version that does not exist yet is waited for, then refused in a way that
// clients know.
func TestFutureVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := storetest.New(t).Client(storetest.Admin())
		for _, rv := range []string{"1000000", strconv.FormatUint(math.MaxUint64, 10)} {
			_, listErr := list(t, c, &storev1.ListRequest{ResourceVersion: rv})
			_, getErr := c.Store().Get(t.Context(), &storev1.GetRequest{Resource: configMaps(), Namespace: "default", Name: "a", ResourceVersion: rv})
			for _, err := range []error{listErr, apistatus.FromGRPC(getErr)} {
				var status *apierrors.StatusError
				if !errors.As(err, &status) {
					t.Fatalf("no status: %v", err)
				}
				s := status.ErrStatus
				if s.Code != 504 || s.Reason != metav1.StatusReasonTimeout || !strings.HasPrefix(s.Message, "Timeout: Too large resource version: ") ||
					s.Details == nil || s.Details.RetryAfterSeconds != 1 || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
					t.Errorf("%+v, want a timeout that says the version is too large", s)
				}
			}
		}
	})
}

// All pages of a list are of one version, whichever Store gives them. Once that
// version is gone, the list can be ended with the newest state.
func TestPagesAreOfOneVersion(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	t.Cleanup(func() { _ = b.Close() })
	first := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	for i := range 5 {
		create(t, first, configMap(fmt.Sprintf("m%d", i), map[string]string{"i": "old"}))
	}
	page, err := list(t, first, &storev1.ListRequest{PageSize: 2})
	if err != nil || cmp.Diff([]string{"m0=old", "m1=old"}, page.items) != "" || page.header.GetRemainingItemCount() != 3 {
		t.Fatalf("first page %v of %v, %v", page.items, page.header, err)
	}
	for i := range 5 {
		if err := first.Update(ctx, configMap(fmt.Sprintf("m%d", i), map[string]string{"i": "new"})); err != nil {
			t.Fatal(err)
		}
	}
	second := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	for name, c := range map[string]*client.Client{"from memory": first, "from the backend": second} {
		got, err := list(t, c, &storev1.ListRequest{PageSize: 2, PageToken: page.header.GetNextPageToken(), ResourceVersion: "0"})
		if err != nil || cmp.Diff([]string{"m2=old", "m3=old"}, got.items) != "" {
			t.Errorf("%s: %v, %v", name, got.items, err)
		}
		if got.header.GetResourceVersion() != page.header.GetResourceVersion() || got.header.GetRemainingItemCount() != 1 || got.header.GetNextPageToken() == "" {
			t.Errorf("%s: header %v after %v", name, got.header, page.header)
		}
	}
	_, err = list(t, first, &storev1.ListRequest{PageToken: page.header.GetNextPageToken(), ResourceVersion: page.header.GetResourceVersion()})
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "not allowed when using continue") {
		t.Errorf("a token and a version: %v", err)
	}
	t.Run("expired", func(t *testing.T) { expiredPages(t, b, second, page.header.GetNextPageToken()) })
}

// A page is there for as long as revisions are kept, and then no more, even if
// it could still be shown.
func TestPagesExpireWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := storetest.New(t).Client(storetest.Admin())
		for i := range 5 {
			create(t, c, configMap(fmt.Sprintf("m%d", i), map[string]string{"k": "v"}))
		}
		page, err := list(t, c, &storev1.ListRequest{PageSize: 2})
		if err != nil {
			t.Fatal(err)
		}
		next := &storev1.ListRequest{PageSize: 2, PageToken: page.header.GetNextPageToken()}
		interval := store.DefaultConfig().CompactInterval
		create(t, c, configMap("m5", nil))
		time.Sleep(interval)
		synctest.Wait()
		if _, err := list(t, c, next); err != nil {
			t.Errorf("a page of a list from %v ago: %v", interval, err)
		}
		time.Sleep(interval)
		synctest.Wait()
		_, err = list(t, c, next)
		var status *apierrors.StatusError
		if !errors.As(err, &status) || !apierrors.IsResourceExpired(err) || status.ErrStatus.Continue == "" {
			t.Fatalf("a page of a list from %v ago: %v, want 410 with a token", 2*interval, err)
		}
		exact := &storev1.ListRequest{ResourceVersion: page.header.GetResourceVersion(), ResourceVersionMatch: exactly}
		if _, err := list(t, c, exact); !apierrors.IsResourceExpired(err) {
			t.Errorf("a list of a version from %v ago: %v, want 410", 2*interval, err)
		}
		next.PageToken = status.ErrStatus.Continue
		if rest, err := list(t, c, next); err != nil || len(rest.items) != 2 {
			t.Errorf("going on: %v, %v", rest.items, err)
		}
	})
}

func expiredPages(t *testing.T, b backend.Backend, c *client.Client, token string) {
	now, err := b.Revision(t.Context())
	if err == nil {
		err = b.Compact(t.Context(), now)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = list(t, c, &storev1.ListRequest{PageSize: 2, PageToken: token})
	var status *apierrors.StatusError
	if !errors.As(err, &status) || !apierrors.IsResourceExpired(err) || status.ErrStatus.Continue == "" {
		t.Fatalf("a page of a compacted version: %v, want 410 with a token", err)
	}
	rest, err := list(t, c, &storev1.ListRequest{PageSize: 2, PageToken: status.ErrStatus.Continue})
	if err != nil || cmp.Diff([]string{"m2=new", "m3=new"}, rest.items) != "" {
		t.Fatalf("going on: %v, %v", rest.items, err)
	}
	rest, err = list(t, c, &storev1.ListRequest{PageSize: 2, PageToken: rest.header.GetNextPageToken()})
	if err != nil || cmp.Diff([]string{"m4=new"}, rest.items) != "" || rest.header.GetNextPageToken() != "" {
		t.Errorf("the last page: %v %v, %v", rest.items, rest.header, err)
	}
	if _, err := list(t, c, &storev1.ListRequest{ResourceVersion: "2", ResourceVersionMatch: exactly}); !apierrors.IsResourceExpired(err) {
		t.Errorf("a list of a compacted version: %v", err)
	}
}

// What a selector leaves is not counted, and a page that it fills has a next
// one only if there is more.
func TestPagesOfASelection(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	for i := range 6 {
		cm := configMap(fmt.Sprintf("m%d", i), nil)
		cm.Labels = map[string]string{"odd": strconv.FormatBool(i%2 == 1)}
		create(t, c, cm)
	}
	page, err := list(t, c, &storev1.ListRequest{PageSize: 2, LabelSelector: "odd=true"})
	if err != nil || cmp.Diff([]string{"m1=", "m3="}, page.items) != "" || page.header.RemainingItemCount != nil || page.header.GetNextPageToken() == "" {
		t.Fatalf("%v %v, %v", page.items, page.header, err)
	}
	page, err = list(t, c, &storev1.ListRequest{PageSize: 2, LabelSelector: "odd=true", PageToken: page.header.GetNextPageToken()})
	if err != nil || cmp.Diff([]string{"m5="}, page.items) != "" || page.header.GetNextPageToken() != "" {
		t.Errorf("%v %v, %v", page.items, page.header, err)
	}
}

// Malformed tokens are the client's fault.
func TestBrokenPageTokens(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	for _, token := range []string{"x", "!!!", "e30", token(`{"rv":0,"after":"a"}`), token(`{"rv":-2,"after":"a"}`), token(`{"rv":2}`), token(`{"rv":2,"after":"../x"}`), token(`{"rv":2,"after":"/x"}`)} {
		if _, err := list(t, c, &storev1.ListRequest{PageToken: token}); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "continue key is not valid") {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func token(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
