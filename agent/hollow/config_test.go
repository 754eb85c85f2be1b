package hollow

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string // in the error; empty: there is none
	}{
		{"defaults", func(*Config) {}, ""},
		{"the largest", func(c *Config) { c.Nodes, c.NodeCIDR, c.PodCIDR = mostNodes, "10.0.0.0/8", "fd00::/64" }, ""},
		{"no nodes", func(c *Config) { c.Nodes = 0 }, "--nodes: 0 must be"},
		{"too many nodes", func(c *Config) { c.Nodes = mostNodes + 1 }, "--nodes"},
		{"negative first node", func(c *Config) { c.FirstNode = -1 }, "--first-node: -1"},
		{"prefix in capitals", func(c *Config) { c.NamePrefix = "Hollow-" }, `--name-prefix: "Hollow-"`},
		{"prefix with an empty label", func(c *Config) { c.NamePrefix = "a..b" }, `--name-prefix: "a..b"`},
		{"long prefix", func(c *Config) { c.NamePrefix = strings.Repeat("a", 63) }, "--name-prefix"},
		{"no pods", func(c *Config) { c.MaxPods = 0 }, "--max-pods: 0"},
		{"negative zones", func(c *Config) { c.Zones = -1 }, "--zones: -1"},
		{"more that are not ready than there are", func(c *Config) { c.NotReady = 11 }, "--not-ready: 11 must be from 0 to --nodes (10)"},
		{"CPU that is no quantity", func(c *Config) { c.CPU = "much" }, `--node-cpu: "much"`},
		{"no memory", func(c *Config) { c.Memory = "0" }, `--node-memory: "0"`},
		{"label", func(c *Config) { c.Labels = map[string]string{"a b": ""} }, `--node-labels: "a b"`},
		{"taint without an effect", func(c *Config) { c.Taints = []string{"hollow=true"} }, `--node-taints: "hollow=true" must be KEY=VALUE:EFFECT`},
		{"taint with another effect", func(c *Config) { c.Taints = []string{"hollow:Never"} }, `the effect "Never", which must be one of`},
		{"taint without a key", func(c *Config) { c.Taints = []string{"=x:NoSchedule"} }, "--node-taints"},
		{"node range that is none", func(c *Config) { c.NodeCIDR = "198.18.0.0" }, "--node-cidr"},
		{"small node range", func(c *Config) { c.NodeCIDR = "198.18.0.0/29" }, "--node-cidr: 198.18.0.0/29 has no room for nodes up to number 9"},
		{"small pod range", func(c *Config) { c.PodCIDR = "10.0.0.0/22" }, "--pod-cidr: 10.0.0.0/22 has no room for 10 nodes of up to 110 pods"},
		{"pod range smaller than a node's", func(c *Config) { c.PodCIDR = "10.0.0.0/30" }, "--pod-cidr"},
		{"range that the first node is beyond", func(c *Config) { c.FirstNode = math.MaxInt - 100 }, "--node-cidr"},
		{"negative latency", func(c *Config) { c.ImageLatency = -1 }, "--image-latency: -1ns is less than 0"},
		{"negative interval", func(c *Config) { c.NodeFailEvery = -time.Second }, "--node-fail-every"},
		{"rate above 1", func(c *Config) { c.PullFailRate = 1.5 }, "--pull-fail-rate: 1.5 must be from 0 to 1"},
		{"rate that is no number", func(c *Config) { c.StartFailRate = math.NaN() }, "--start-fail-rate: NaN"},
		{"spread above 1", func(c *Config) { c.LatencySpread = 2 }, "--latency-spread"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Nodes = 10
			tt.change(&c)
			err := c.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParseTaint(t *testing.T) {
	for text, want := range map[string]corev1.Taint{
		"a.test/b=c:NoSchedule": {Key: "a.test/b", Value: "c", Effect: corev1.TaintEffectNoSchedule},
		"b:NoExecute":           {Key: "b", Effect: corev1.TaintEffectNoExecute},
	} {
		got, err := parseTaint(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
}

func TestNth(t *testing.T) {
	for _, tt := range []struct {
		in   string
		bits int
		n    uint64
		want string
	}{
		{"10.128.0.0/9", 25, 0, "10.128.0.0/25"},
		{"10.128.0.0/9", 25, 3, "10.128.1.128/25"},
		{"10.128.0.0/9", 24, 257, "10.129.1.0/24"},
		{"198.18.0.0/15", 32, 65537, "198.19.0.1/32"},
		{"fd00::/48", 64, 7000, "fd00:0:0:1b58::/64"},
		{"fd00::/8", 120, 256, "fd00::1:0/120"},
	} {
		if got := nth(netip.MustParsePrefix(tt.in), tt.bits, tt.n); got.String() != tt.want {
			t.Errorf("number %d of length %d in %s is %s, want %s", tt.n, tt.bits, tt.in, got, tt.want)
		}
	}
}
