package pages

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/version"
)

// syncTime is how long the pods' workers may take to say how their pods are.
const syncTime = 10 * time.Second

// check is one of the things that health depends on.
type check struct {
	name string
	run  func(context.Context) error
}

// checks are a kubelet's: that it answers, that it writes its log, that it looks
// after its pods.
func (p *pages) checks() []check {
	alive := func(context.Context) error { return nil }
	return []check{{"ping", alive}, {"log", alive}, {"syncloop", p.checkPods}}
}

// checkPods asks for all pods, of which each is answered for by its worker.
func (p *pages) checkPods(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	if _, err := p.Pods.Pods(ctx); err != nil {
		return fmt.Errorf("the pods' state is not known: %w", err)
	}
	return nil
}

// healthz says whether all is well and, if asked to be verbose or if it is not,
// what is.
func (p *pages) healthz(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	excluded := query["exclude"]
	var lines strings.Builder
	well := true
	for _, c := range p.checks() {
		switch {
		case slices.Contains(excluded, c.name):
			fmt.Fprintf(&lines, "[+]%s excluded: ok\n", c.name)
		case c.run(r.Context()) != nil:
			well = false
			fmt.Fprintf(&lines, "[-]%s failed: reason withheld\n", c.name)
		default:
			fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
		}
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case !well:
		http.Error(w, lines.String()+"healthz check failed", http.StatusInternalServerError)
	case query.Has("verbose"):
		writeText(w, lines.String()+"healthz check passed\n")
	default:
		writeText(w, "ok")
	}
}

// healthzOf says whether one check passes, and why not.
func (p *pages) healthzOf(w http.ResponseWriter, r *http.Request) {
	all := p.checks()
	at := slices.IndexFunc(all, func(c check) bool { return c.name == r.PathValue("check") })
	if at < 0 {
		http.NotFound(w, r)
		return
	}
	if err := all[at].run(r.Context()); err != nil {
		http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
		return
	}
	writeText(w, "ok")
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text)) // who asked has gone
}

// The objects of config.k8s.io/v1beta1, in which statusz and flagz can be asked
// for (KEP-4827, KEP-4828; on by default since Kubernetes 1.36).
type (
	statusz struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta `json:"metadata"`
		StartTime       metav1.Time       `json:"startTime"`
		UptimeSeconds   int64             `json:"uptimeSeconds"`
		GoVersion       string            `json:"goVersion"`
		BinaryVersion   string            `json:"binaryVersion"`
		// EmulationVersion is the version of the API, major and minor.
		EmulationVersion string   `json:"emulationVersion,omitempty"`
		Paths            []string `json:"paths"`
	}
	flagz struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta `json:"metadata"`
		Flags           map[string]string `json:"flags,omitempty"`
	}
)

const (
	// zGroup and zVersion are those of statusz and flagz.
	zGroup, zVersion = "config.k8s.io", "v1beta1"
	// component is what a kubelet calls itself there.
	component = "kubelet"

	notParseable = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n"
)

func zMeta(kind string) (metav1.TypeMeta, metav1.ObjectMeta) {
	return metav1.TypeMeta{APIVersion: zGroup + "/" + zVersion, Kind: kind}, metav1.ObjectMeta{Name: component}
}

// statusz says what runs here, since when, and which pages there are.
func (p *pages) statusz(w http.ResponseWriter, r *http.Request) {
	s := statusz{
		StartTime: metav1.NewTime(p.Started), UptimeSeconds: int64(max(0, time.Since(p.Started)).Seconds()), GoVersion: goruntime.Version(),
		BinaryVersion: version.Navarch(), EmulationVersion: emulated(), Paths: p.paths,
	}
	s.TypeMeta, s.Metadata = zMeta("Statusz")
	p.showZ(w, r, s.TypeMeta, s, fmt.Sprintf("\n%s statusz\n%s\nStarted: %s\nUp: %s\nGo version: %s\nBinary version: %s\nEmulation version: %s\nPaths: %s\n",
		component, notParseable, s.StartTime.Format(time.UnixDate), uptime(s.UptimeSeconds), s.GoVersion, s.BinaryVersion, s.EmulationVersion, strings.Join(s.Paths, " ")))
}

// flagz shows the agent's flags.
func (p *pages) flagz(w http.ResponseWriter, r *http.Request) {
	f := flagz{Flags: p.Flags}
	f.TypeMeta, f.Metadata = zMeta("Flagz")
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s flagz\n%s", component, notParseable)
	names := make([]string, 0, len(p.Flags))
	for name := range p.Flags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&text, "%s: %s\n", name, p.Flags[name])
	}
	p.showZ(w, r, f.TypeMeta, f, text.String())
}

// showZ answers with text or with an object, as the client accepts.
func (p *pages) showZ(w http.ResponseWriter, r *http.Request, meta metav1.TypeMeta, obj any, text string) {
	object, err := wantsObject(r.Header.Get("Accept"), meta)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusNotAcceptable)
	case object:
		reply(w, obj, nil)
	default:
		writeText(w, text)
	}
}

// wantsObject says whether a client asks for an object by a parameter "as" of its
// Accept header, rather than for text. The error says what there is.
func wantsObject(accept string, meta metav1.TypeMeta) (bool, error) {
	if strings.TrimSpace(accept) == "" {
		return false, nil
	}
	for clause := range strings.SplitSeq(accept, ",") {
		media, parameters, err := mime.ParseMediaType(clause)
		if err != nil {
			continue
		}
		as := parameters["as"]
		switch media {
		case "text/plain", "text/*", "*/*":
			if as == "" {
				return false, nil
			}
		case "application/json":
			if as == meta.Kind && parameters["v"] == zVersion && parameters["g"] == zGroup {
				return true, nil
			}
		}
	}
	return false, errors.New("only the following media types are accepted: text/plain, application/json;v=" + zVersion + ";g=" + zGroup + ";as=" + meta.Kind)
}

func uptime(seconds int64) string {
	return fmt.Sprintf("%d hr %02d min %02d sec", seconds/3600, seconds/60%60, seconds%60)
}

// emulated returns major and minor of the API's version.
func emulated() string {
	parts := strings.SplitN(strings.TrimPrefix(version.Kubernetes, "v"), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
