// Package pages answers what Kubernetes' tools read of a node over HTTP, on the
// agent's own port and under /api/v1/nodes/NAME/proxy: the kubelet's paths, as
// far as they only read.
//
//	/healthz[/CHECK]   ok
//	/pods              the node's pods with their true state
//	/stats/summary     what the node, its pods and containers use
//	/metrics           the agent's own metrics
//	/metrics/resource  what /stats/summary says, as metrics
//	/metrics/cadvisor  all that the kernel counts of pods, by cAdvisor's names
//	/metrics/probes    what probes have found
//	/logs/             the machine's /var/log
//	/configz           the agent's settings, by the kubelet's names
//	/statusz           what runs, since when
//	/flagz             the agent's flags
package pages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/runtime"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Pods finds the node's pods.
type Pods interface {
	Pods(ctx context.Context) ([]*corev1.Pod, error)
}

// Stats reads the present usage.
type Stats interface {
	Read(ctx context.Context) (*nodev1.StatsResponse, error)
}

// Config is what pages are made of.
type Config struct {
	// Started is when the agent was.
	Started time.Time
	// DataDir is where the pods' data are, whose filesystem is looked at.
	DataDir string
	// LogDir is the folder of the machine's logs.
	LogDir string
	// Settings are shown as the kubelet's configuration.
	Settings Settings
	// Flags are the process's flags with their values.
	Flags   map[string]string
	Pods    Pods
	Stats   Stats
	Metrics prometheus.Gatherer
	// Probes are the metrics of probes; nil if nothing is probed.
	Probes prometheus.Gatherer
	// Accounts and Machine are what is counted of pods and of the machine; nil if
	// pods have no processes.
	Accounts Accounts
	Machine  func() (runtime.Usage, error)
}

// Settings are the agent's settings that a kubelet has, too, by the names of
// kubelet.config.k8s.io/v1beta1.
type Settings struct {
	Address                     string   `json:"address,omitempty"`
	Port                        int      `json:"port"`
	StaticPodPath               string   `json:"staticPodPath,omitempty"`
	PodLogsDir                  string   `json:"podLogsDir,omitempty"`
	ClusterDomain               string   `json:"clusterDomain,omitempty"`
	ClusterDNS                  []string `json:"clusterDNS,omitempty"`
	ResolverConfig              string   `json:"resolvConf,omitempty"`
	MaxPods                     int      `json:"maxPods"`
	CgroupRoot                  string   `json:"cgroupRoot,omitempty"`
	CgroupDriver                string   `json:"cgroupDriver,omitempty"`
	ContainerLogMaxSize         string   `json:"containerLogMaxSize,omitempty"`
	ContainerLogMaxFiles        int      `json:"containerLogMaxFiles,omitempty"`
	ImageGCHighThresholdPercent int      `json:"imageGCHighThresholdPercent"`
	ImageGCLowThresholdPercent  int      `json:"imageGCLowThresholdPercent"`
}

type pages struct {
	Config
	paths []string // that there are
}

// New returns the handler of all pages. They are read, and nothing else.
func New(cfg Config) http.Handler {
	p := &pages{Config: cfg}
	handlers := map[string]http.HandlerFunc{
		"/healthz":          p.healthz,
		"/healthz/{check}":  p.healthzOf,
		"/pods":             p.pods,
		"/stats/summary":    p.summary,
		"/metrics":          promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{}).ServeHTTP,
		"/metrics/resource": p.resourceMetrics,
		"/logs/":            p.logs,
		"/statusz":          p.statusz,
		"/flagz":            p.flagz,
		"/debug/pprof/":     disabled("profiling"),
		"/debug/flags/v":    disabled("flags"),
		"/configz": func(w http.ResponseWriter, _ *http.Request) {
			reply(w, map[string]Settings{"kubeletconfig": p.Settings}, nil)
		},
	}
	if cfg.Probes != nil {
		handlers["/metrics/probes"] = promhttp.HandlerFor(cfg.Probes, promhttp.HandlerOpts{}).ServeHTTP
	}
	if cfg.Accounts != nil {
		handlers["/metrics/cadvisor"] = p.cadvisorMetrics
	}
	mux := http.NewServeMux()
	for path, handler := range handlers {
		mux.HandleFunc(path, handler)
		first, _, _ := strings.Cut(path[1:], "/")
		p.paths = append(p.paths, "/"+first)
	}
	slices.Sort(p.paths)
	p.paths = slices.Compact(p.paths)
	return reads(mux)
}

// disabled answers as a kubelet does where a page is switched off. Profiles are at
// the agent's own --debug-listen.
func disabled(what string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, what+" endpoint is disabled.", http.StatusMethodNotAllowed)
	}
}

// reads refuses what does not read.
func reads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *pages) pods(w http.ResponseWriter, r *http.Request) {
	pods, err := p.Pods.Pods(r.Context())
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: make([]corev1.Pod, 0, len(pods))}
	for _, pod := range pods {
		list.Items = append(list.Items, *pod)
	}
	reply(w, list, err)
}

func (p *pages) summary(w http.ResponseWriter, r *http.Request) {
	usage, pods, err := p.usage(r.Context())
	if err != nil {
		reply(w, nil, err)
		return
	}
	s := summarize(usage, pods, p.Started, readFilesystem(p.DataDir))
	if r.URL.Query().Get("only_cpu_and_memory") == "true" {
		s.reduce()
	} else {
		p.addNetworks(r.Context(), &s)
	}
	reply(w, s, nil)
}

func (p *pages) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	usage, pods, err := p.usage(r.Context())
	registry := prometheus.NewRegistry()
	if err := registry.Register(resourceCollector{usage: usage, pods: pods, failed: err != nil}); err != nil {
		reply(w, nil, err)
		return
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// usage returns what is used, and the pods that use it.
func (p *pages) usage(ctx context.Context) (*nodev1.StatsResponse, podsByUID, error) {
	usage, err := p.Stats.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	pods, err := p.Pods.Pods(ctx)
	if err != nil {
		return nil, nil, err
	}
	byUID := make(podsByUID, len(pods))
	for _, pod := range pods {
		byUID[string(pod.UID)] = pod
		if source := pod.Annotations[corev1.MirrorPodAnnotationKey]; source != "" { // it runs by its file's
			byUID[source] = pod
		}
	}
	return usage, byUID, nil
}

type podsByUID map[string]*corev1.Pod

// started returns when a pod's container was.
func (p podsByUID) started(uid, container string) *metav1.Time {
	pod := p[uid]
	if pod == nil {
		return nil
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if run := list[i].State.Running; list[i].Name == container && run != nil {
				return &run.StartedAt
			}
		}
	}
	return nil
}

// logs shows the files below LogDir. A link that leads out of it is not
// followed.
func (p *pages) logs(w http.ResponseWriter, r *http.Request) {
	root, err := os.OpenRoot(p.LogDir)
	if errors.Is(err, os.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		reply(w, nil, fmt.Errorf("open the machine's logs: %w", err))
		return
	}
	defer root.Close()
	http.StripPrefix("/logs", http.FileServerFS(confined{root.FS()})).ServeHTTP(w, r)
}

// confined forbids what leads out of a folder.
type confined struct{ fs.FS }

// Open implements fs.FS.
func (c confined) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f, err
}

// reply writes v as JSON, or an error.
func reply(w http.ResponseWriter, v any, err error) {
	var body []byte
	if err == nil {
		body, err = json.Marshal(v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // who asked has gone
}
