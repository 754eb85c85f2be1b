package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// webNode is an agent on whose pods' port 8080 a web server runs.
type webNode struct {
	*node
	server *httptest.Server
}

func newWebNode(t *testing.T) *webNode {
	n := &webNode{node: &node{channel: &inprocgrpc.Channel{}}}
	nodev1.RegisterNodeServiceServer(n.channel, n)
	n.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page" {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<a href="/next">next</a>`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %q", r.Method, r.RequestURI, body, r.Header.Get("Authorization"))
	}))
	t.Cleanup(n.server.Close)
	return n
}

func (n *webNode) PortForward(stream grpc.BidiStreamingServer[nodev1.PortForwardRequest, nodev1.PortForwardResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if s := first.GetStart(); s.GetPort() != 8080 || s.GetAddress() != "10.244.0.9" {
		return fmt.Errorf("nothing listens on %s port %d", s.GetAddress(), s.GetPort())
	}
	conn, err := net.Dial("tcp", n.server.Listener.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			if _, err := conn.Write(req.GetData()); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1024)
	for {
		read, err := conn.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&nodev1.PortForwardResponse{Data: append([]byte(nil), buf[:read]...)}); err != nil {
			return err
		}
	}
}

// web runs a pod with an address behind a Service, and a Service without any.
func (c *cluster) web() {
	c.t.Helper()
	ctx := c.t.Context()
	c.runPod("web", "main")
	core := c.clientset("application/json").CoreV1()
	pod, err := core.Pods("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	pod.Status.PodIP, pod.Status.PodIPs = "10.244.0.9", []corev1.PodIP{{IP: "10.244.0.9"}}
	if _, err := core.Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	for _, name := range []string{"web", "empty"} {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		}}
		if _, err := core.Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.9"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"}},
			{Addresses: []string{"10.244.0.10"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
		},
	}
	if _, err := c.clientset("application/json").DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	c := start(t, newWebNode(t))
	c.web()
	const prefix = "/api/v1/namespaces/default/"
	tests := []struct {
		name, user, method, path, body string
		code                           int
		want                           string
	}{
		{"a pod's port", "admin", "POST", "pods/web:8080/proxy/a%2Fb?q=1", "hello", 200, `POST /a%2Fb?q=1 hello ""`},
		{"an escaped colon", "admin", "GET", "pods/web%3A8080/proxy/x", "", 200, `GET /x  ""`},
		{"a trailing slash", "admin", "GET", "pods/web:8080/proxy/dir/", "", 200, `GET /dir/  ""`},
		{"the root", "admin", "DELETE", "pods/http:web:8080/proxy/", "", 200, `DELETE /  ""`},
		{"without a slash", "admin", "GET", "pods/web:8080/proxy?q=1", "", 301, ""},
		{"links are kept within the proxy", "admin", "GET", "pods/web:8080/proxy/page", "", 200, `<a href="` + prefix + `pods/web:8080/proxy/next">`},
		{"a Service", "admin", "PUT", "services/web/proxy/x", "y", 200, `PUT /x y ""`},
		{"a Service's port by name", "admin", "GET", "services/web:http/proxy/x", "", 200, "GET /x"},
		{"a Service's port by number", "admin", "PATCH", "services/web:80/proxy/x", "", 200, "PATCH /x"},
		{"a port that the Service lacks", "admin", "GET", "services/web:81/proxy/x", "", 503, `no service port \"81\" found for service \"web\"`},
		{"no endpoints", "admin", "GET", "services/empty/proxy/x", "", 503, `no endpoints available for service \"empty\"`},
		{"a port that nothing listens on", "admin", "GET", "pods/web/proxy/x", "", 503, "nothing listens on 10.244.0.9 port 80"},
		{"no port at all", "admin", "GET", "pods/web:no/proxy/x", "", 400, `invalid port \"no\"`},
		{"no such pod", "admin", "GET", "pods/none:8080/proxy/x", "", 404, `pods \"none\" not found`},
		{"a stranger", "stranger", "GET", "pods/web:8080/proxy/x", "", 403, "forbidden"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, err := rest.HTTPClientFor(c.config(tt.user))
			if err != nil {
				t.Fatal(err)
			}
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			req, err := http.NewRequestWithContext(t.Context(), tt.method, c.address+prefix+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Basic secret") // none that anybody takes, and none of the pod's business
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.code || !strings.Contains(string(body), tt.want) {
				t.Errorf("%s\n%s\nwant %d %s", resp.Status, body, tt.code, tt.want)
			}
			if tt.code == http.StatusMovedPermanently {
				if got, want := resp.Header.Get("Location"), prefix+"pods/web:8080/proxy/?q=1"; got != want {
					t.Errorf("moved to %s, not %s", got, want)
				}
			}
		})
	}
}

// Page shows what it is asked, and moves at /moved.
func (n *node) Page(req *nodev1.PageRequest, stream grpc.ServerStreamingServer[nodev1.PageResponse]) error {
	start := &nodev1.PageStart{Status: 200, Headers: map[string]string{"Content-Type": "text/odd"}}
	switch req.GetPath() {
	case "/broken":
		return errors.New("the disk is gone")
	case "/moved":
		start.Status, start.Headers["Location"] = 307, "/logs/"
	}
	if err := stream.Send(&nodev1.PageResponse{Message: &nodev1.PageResponse_Start{Start: start}}); err != nil {
		return err
	}
	return stream.Send(&nodev1.PageResponse{Message: &nodev1.PageResponse_Data{Data: []byte(req.GetPath() + "?" + req.GetQuery())}})
}

func TestNodePages(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	const prefix = "/api/v1/nodes/"
	for _, tt := range []struct {
		name, user, method, path string
		code                     int
		want                     string
	}{
		{"a page", "admin", "GET", "n1/proxy/stats/summary?only=cpu", 200, "/stats/summary?only=cpu"},
		{"as it was written", "admin", "GET", "n1/proxy/logs/a%2Fb/", 200, "/logs/a%2Fb/?"},
		{"the root", "admin", "GET", "n1/proxy", 200, "/?"},
		{"the agent's port", "admin", "GET", "https:n1:10250/proxy/pods", 200, "/pods?"},
		{"another page", "admin", "GET", "n1/proxy/moved", 307, ""},
		{"another port", "admin", "GET", "n1:22/proxy/pods", 400, `port \"22\" of node \"n1\" is not its agent's, which is 10250`},
		{"a write", "admin", "POST", "n1/proxy/run/default/web/c", 405, "MethodNotAllowed"},
		{"a node that fails", "admin", "GET", "n1/proxy/broken", 503, "error trying to reach node n1"},
		{"no such node", "admin", "GET", "n2/proxy/pods", 404, `nodes \"n2\" not found`},
		{"a stranger", "stranger", "GET", "n1/proxy/pods", 403, "forbidden"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := rest.HTTPClientFor(c.config(tt.user))
			if err != nil {
				t.Fatal(err)
			}
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			req, err := http.NewRequestWithContext(t.Context(), tt.method, c.address+prefix+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.code || !strings.Contains(string(body), tt.want) {
				t.Errorf("%s\n%s\nwant %d %s", resp.Status, body, tt.code, tt.want)
			}
			if got, want := resp.Header.Get("Location"), prefix+"n1/proxy/logs/"; tt.code == 307 && got != want {
				t.Errorf("moved to %s, not %s", got, want)
			}
			if got := resp.Header.Get("Content-Type"); tt.code == 200 && got != "text/odd" {
				t.Errorf("the content type is %s", got)
			}
		})
	}
}
