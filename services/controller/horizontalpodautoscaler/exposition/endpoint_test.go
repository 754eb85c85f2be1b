package exposition

import (
	"errors"
	"strings"
	"testing"
)

func TestEndpointOf(t *testing.T) {
	type annotations = map[string]string
	with := func(more annotations) annotations {
		all := annotations{AnnotationScrape: "true"}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	for name, tt := range map[string]struct {
		annotations annotations
		port        int32 // the first declared one
		want        Endpoint
		err         string
	}{
		"nothing but that there is one": {with(nil), 8080, Endpoint{8080, "/metrics", false}, ""},
		"all that can be said":          {with(annotations{AnnotationPort: "9102", AnnotationPath: "/m?format=text", AnnotationScheme: "https"}), 8080, Endpoint{9102, "/m?format=text", true}, ""},
		"the plain scheme":              {with(annotations{AnnotationScheme: "http"}), 1, Endpoint{1, "/metrics", false}, ""},
		"no annotations":                {nil, 8080, Endpoint{}, "exposes no metrics"},
		"switched off":                  {annotations{AnnotationScrape: "false", AnnotationPort: "1"}, 8080, Endpoint{}, "exposes no metrics"},
		"no port anywhere":              {with(nil), 0, Endpoint{}, "annotation prometheus.io/port: required"},
		"a port by name":                {with(annotations{AnnotationPort: "web"}), 8080, Endpoint{}, `annotation prometheus.io/port: "web" is not a number between 1 and 65535`},
		"port zero":                     {with(annotations{AnnotationPort: "0"}), 8080, Endpoint{}, `"0" is not a number between 1 and 65535`},
		"a port too large":              {with(annotations{AnnotationPort: "65536"}), 8080, Endpoint{}, `"65536" is not a number`},
		"a relative path":               {with(annotations{AnnotationPath: "metrics"}), 8080, Endpoint{}, `annotation prometheus.io/path: "metrics" is not a path that begins with a slash`},
		"another scheme":                {with(annotations{AnnotationScheme: "ftp"}), 8080, Endpoint{}, `annotation prometheus.io/scheme: "ftp" is not "http" or "https"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := EndpointOf(tt.annotations, tt.port)
			if tt.err == "" && (err != nil || got != tt.want) {
				t.Errorf("%+v (%v), want %+v", got, err, tt.want)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if hidden := strings.HasPrefix(tt.err, "exposes"); hidden != errors.Is(err, ErrNotExposed) {
				t.Errorf("not exposed: %v, want %v", !hidden, hidden)
			}
		})
	}
}
