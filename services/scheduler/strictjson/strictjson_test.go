package strictjson

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		path       *field.Path
		want       []string
	}{
		{"right", `{"parallelism": 3, "profiles": [{"schedulerName": "a"}]}`, nil, nil},
		{"unknown", `{"profiles": [{}, {"plugins": {"score": {"enable": []}}}]}`, nil, []string{"profiles[1].plugins.score.enable: Forbidden: unknown field, must be one of disabled, enabled"}},
		{"unknown, of an embedded struct", `{"kid": 1}`, nil, []string{"kid: Forbidden: unknown field, must be one of apiVersion, clientConnection, "}},
		{"another case", `{"Parallelism": 3}`, nil, []string{"Parallelism: Forbidden: unknown field"}},
		{"twice", `{"parallelism": 1, "parallelism": 2}`, nil, []string{"parallelism: Forbidden: must be given once"}},
		{"several, below a path", `{"a": 1, "b": 2}`, field.NewPath("x").Index(0), []string{"x[0].a: Forbidden", "x[0].b: Forbidden"}},
		{"text for a number", `{"parallelism": "many"}`, nil, []string{"parallelism: Invalid value: is string, must be a whole number of 32 bits"}},
		{"too large", `{"parallelism": 3000000000}`, nil, []string{"parallelism: Invalid value: is number 3000000000, must be a whole number of 32 bits"}},
		{"an object for a list", `{"profiles": {}}`, nil, []string{"profiles: Invalid value: is object, must be a list"}},
		{"a list for all", `[]`, field.NewPath("args"), []string{"args: Invalid value: is array, must be an object"}},
		{"a list for the whole", `[]`, nil, []string{"configuration: Invalid value: is array, must be an object"}},
		{"no JSON", `{`, nil, []string{"configuration: Invalid value: unexpected end of JSON input"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			errs := Decode(tt.path, []byte(tt.data), &configv1.KubeSchedulerConfiguration{})
			if len(errs) != len(tt.want) {
				t.Fatalf("%v", errs)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(errs[i].Error(), want) {
					t.Errorf("%v, not %s", errs[i], want)
				}
			}
		})
	}
}

// FuzzDecode tells of any data either nothing or where the mistake is.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"profiles": [{"x": 1}]}`, `{"parallelism": "a"}`, `{"leaderElection": {"leaseDuration": 5}}`, `null`, `{"a.b": [[1]]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, err := range Decode(nil, data, &configv1.KubeSchedulerConfiguration{}) {
			if err.Field == "" || err.Error() == "" {
				t.Errorf("an error without a field: %v", err)
			}
		}
	})
}
