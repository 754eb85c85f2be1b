package configuration

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const header = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

// full has every field that means something.
const full = header + `
parallelism: 4
percentageOfNodesToScore: 30
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
leaderElection: {leaderElect: true, resourceName: mine, resourceNamespace: ns, leaseDuration: 30s, renewDeadline: 20s, retryPeriod: 4s, resourceLock: leases}
profiles:
- schedulerName: default-scheduler
- schedulerName: bin-packing
  percentageOfNodesToScore: 100
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}]
    score:
      enabled: [{name: NodeResourcesFit, weight: 5}]
      disabled: [{name: NodeResourcesBalancedAllocation}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      ignoredResources: [example.com/licence]
      ignoredResourceGroups: [elsewhere.com]
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: cpu, weight: 3}, {name: example.com/gpu}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: NodeResourcesBalancedAllocation
    args: {resources: [{name: cpu, weight: 1}, {name: ephemeral-storage}]}
  - name: PodTopologySpread
    args:
      defaultingType: List
      defaultConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 100, ignorePreferredTermsOfExistingPods: true}
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [batch]}]}]
  - name: VolumeBinding
    args: {bindTimeoutSeconds: 0}
  - name: DefaultPreemption
    args: {minCandidateNodesPercentage: 5, minCandidateNodesAbsolute: 10}
`

func TestParse(t *testing.T) {
	config, idle, err := Parse([]byte(full))
	if err != nil || len(idle) > 0 {
		t.Fatal(err, idle)
	}
	if len(config.Profiles) != 2 || *config.Profiles[1].SchedulerName != "bin-packing" || *config.PodMaxBackoffSeconds != 20 {
		t.Errorf("%+v", config)
	}
}

func TestParseFillsInAProfile(t *testing.T) {
	for name, text := range map[string]string{
		"no profile": header, "one without a name": header + "profiles: [{percentageOfNodesToScore: 5}]", "as JSON": `{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}`,
	} {
		config, _, err := Parse([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(config.Profiles) != 1 || *config.Profiles[0].SchedulerName != "default-scheduler" {
			t.Errorf("%s: %+v", name, config.Profiles)
		}
	}
}

func TestParseNamesFieldsWithoutEffect(t *testing.T) {
	_, idle, err := Parse([]byte(header + "clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf}\nenableProfiling: false\ndelayCacheUntilActive: true"))
	if diff := cmp.Diff([]string{"clientConnection", "enableProfiling", "delayCacheUntilActive"}, idle); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestParseRefuses(t *testing.T) {
	profile := func(text string) string { return header + "profiles:\n- " + strings.ReplaceAll(text, "\n", "\n  ") }
	args := func(name, args string) string {
		return profile("pluginConfig:\n- name: " + name + "\n  args: " + args)
	}
	const at = "profiles[0].pluginConfig[0].args"
	for _, tt := range []struct{ name, text, want string }{
		{"no YAML", "a: [", "yaml"},
		{"nothing", "", "apiVersion: Required value: must be kubescheduler.config.k8s.io/v1"},
		{"an older version", "apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration", `apiVersion: Unsupported value: "kubescheduler.config.k8s.io/v1beta3": supported values: "kubescheduler.config.k8s.io/v1"`},
		{"another kind", "apiVersion: kubescheduler.config.k8s.io/v1\nkind: Pod", `kind: Unsupported value: "Pod": supported values: "KubeSchedulerConfiguration"`},
		{"an unknown field", header + "parallel: 1", "parallel: Forbidden: unknown field, must be one of apiVersion, "},
		{"a field given twice", header + "parallelism: 1\nparallelism: 2", "already set in map"},
		{"text for a number", header + "parallelism: many", "parallelism: Invalid value: is string, must be a whole number of 32 bits"},
		{"parallelism", header + "parallelism: 0", "parallelism: Invalid value: 0: must be greater than 0"},
		{"percentage", header + "percentageOfNodesToScore: 101", "percentageOfNodesToScore: Invalid value: 101: must be from 1 to 100"},
		{"percentage of a profile", profile("percentageOfNodesToScore: -1"), "profiles[0].percentageOfNodesToScore: Invalid value: -1"},
		{"initial back-off", header + "podInitialBackoffSeconds: 0", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"},
		{"longest back-off", header + "podInitialBackoffSeconds: 11", "podMaxBackoffSeconds: Invalid value: 10: must not be less than podInitialBackoffSeconds, 11"},
		{"back-off beyond time", header + "podMaxBackoffSeconds: 9223372036854775807", "podMaxBackoffSeconds: Invalid value"},
		{"lock", header + "leaderElection: {resourceLock: endpoints}", `leaderElection.resourceLock: Unsupported value: "endpoints": supported values: "leases"`},
		{"lease", header + "leaderElection: {leaseDuration: -1s}", `leaderElection.leaseDuration: Invalid value: "-1s"`},
		{"extender without a place", header + "extenders: [{filterVerb: filter}]", `extenders[0].urlPrefix: Invalid value: "": must be an http or https URL`},
		{"extender without a weight", header + "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]", "extenders[0].weight: Invalid value: 0: must have a positive weight"},
		{"extender's time", header + "extenders: [{urlPrefix: 'http://x', httpTimeout: -1s}]", `extenders[0].httpTimeout: Invalid value: "-1s": must not be negative`},
		{"two binding extenders", header + "extenders: [{urlPrefix: 'http://x', bindVerb: b}, {urlPrefix: 'http://y', bindVerb: b}]", "extenders: Invalid value: \"found 2 extenders implementing bind\""},
		{"extender's resource", header + "extenders: [{urlPrefix: 'http://x', managedResources: [{name: cpu}]}]", `extenders[0].managedResources[0].name: Invalid value: "cpu": must be the name of an extended resource`},
		{"resource of two extenders", header + "extenders: [{urlPrefix: 'http://x', managedResources: [{name: a.b/c}]}, {urlPrefix: 'http://y', managedResources: [{name: a.b/c}]}]", `extenders[1].managedResources[0].name: Duplicate value: "a.b/c"`},
		{"two profiles without names", header + "profiles: [{}, {}]", "profiles[1].schedulerName: Required value"},
		{"two profiles of one name", header + "profiles: [{schedulerName: a}, {schedulerName: a}]", `profiles[1].schedulerName: Duplicate value: "a"`},
		{"no binder", profile("plugins: {bind: {disabled: [{name: '*'}]}}"), "profiles[0].plugins: Invalid value: profile \"default-scheduler\": no scheduler plugin binds pods"},
		{"a filter without what it needs", profile("plugins: {preFilter: {disabled: [{name: NodeAffinity}]}}"), `"NodeAffinity" takes part in filter, but not in preFilter`},
		{"unknown plugin", profile("plugins: {score: {enabled: [{name: Mine}]}}"), `profiles[0].plugins.score.enabled[0].name: Unsupported value: "Mine"`},
		{"arguments of an unknown plugin", args("Mine", "{}"), `profiles[0].pluginConfig[0].name: Unsupported value: "Mine": supported values: "DefaultPreemption", `},
		{"arguments for a plugin that takes none", args("NodeName", "{}"), `profiles[0].pluginConfig[0].name: Invalid value: "NodeName": the plugin takes no arguments`},
		{"arguments given twice", profile("pluginConfig: [{name: VolumeBinding}, {name: VolumeBinding}]"), `profiles[0].pluginConfig[1].name: Duplicate value: "VolumeBinding"`},
		{"another plugin's arguments", args("VolumeBinding", "{kind: NodeAffinityArgs}"), at + `.kind: Unsupported value: "NodeAffinityArgs": supported values: "VolumeBindingArgs"`},
		{"an older version of arguments", args("VolumeBinding", "{apiVersion: kubescheduler.config.k8s.io/v1beta2}"), at + `.apiVersion: Unsupported value`},
		{"an unknown argument", args("NodeResourcesFit", "{scoringStrategy: {typ: x}}"), at + ".scoringStrategy.typ: Forbidden: unknown field, must be one of requestedToCapacityRatio, resources, type"},
		{"arguments that are no object", args("NodeResourcesFit", "[]"), at + ": Invalid value: is array, must be an object"},
		{"strategy", args("NodeResourcesFit", "{scoringStrategy: {type: Least}}"), at + `.scoringStrategy.type: Unsupported value: "Least": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"`},
		{"weight of a resource", args("NodeResourcesFit", "{scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 101}]}}"), at + ".scoringStrategy.resources[0].weight: Invalid value: 101: must be from 1 to 100"},
		{"a resource twice", args("NodeResourcesFit", "{scoringStrategy: {type: MostAllocated, resources: [{name: cpu}, {name: cpu}]}}"), at + ".scoringStrategy.resources[1].name: Duplicate value"},
		{"no shape", args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio}}"), at + ".scoringStrategy.requestedToCapacityRatio: Required value"},
		{"shape of no use", args("NodeResourcesFit", "{scoringStrategy: {type: LeastAllocated, requestedToCapacityRatio: {}}}"), at + ".scoringStrategy.requestedToCapacityRatio: Forbidden"},
		{"no point", args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {}}}"), ".shape: Required value: must have at least one point"},
		{"points out of order", args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: 1}, {utilization: 5, score: 2}]}}}"), ".shape[1].utilization: Invalid value: 5: must be more than that of the point before, 5"},
		{"points out of range", args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 101, score: 11}]}}}"), ".shape[0].score: Invalid value: 11: must be from 0 to 10"},
		{"ignored group", args("NodeResourcesFit", "{ignoredResourceGroups: [a/b]}"), at + `.ignoredResourceGroups[0]: Invalid value: "a/b"`},
		{"ignored resource", args("NodeResourcesFit", "{ignoredResources: ['?']}"), at + `.ignoredResources[0]: Invalid value: "?"`},
		{"balance knows no weights", args("NodeResourcesBalancedAllocation", "{resources: [{name: cpu, weight: 2}]}"), at + ".resources[0].weight: Invalid value: 2: must be 1"},
		{"affinity weight", args("InterPodAffinity", "{hardPodAffinityWeight: 101}"), at + ".hardPodAffinityWeight: Invalid value: 101: must be from 0 to 100"},
		{"affinity operator", args("NodeAffinity", "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: is}]}]}}}"), at + `.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator: `},
		{"affinity without terms", args("NodeAffinity", "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}"), ".nodeSelectorTerms: Required value"},
		{"preference", args("NodeAffinity", "{addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {}}]}}"), "[0].weight: Invalid value: 0: must be from 1 to 100"},
		{"system constraints", args("PodTopologySpread", "{defaultConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}"), at + ".defaultConstraints: Forbidden: must be empty unless defaultingType is List"},
		{"defaulting", args("PodTopologySpread", "{defaultingType: Some}"), at + `.defaultingType: Unsupported value: "Some": supported values: "System", "List"`},
		{"a constraint", args("PodTopologySpread", "{defaultingType: List, defaultConstraints: [{topologyKey: '', whenUnsatisfiable: Never, labelSelector: {}, minDomains: 0, nodeTaintsPolicy: x}]}"), at + `.defaultConstraints[0].whenUnsatisfiable: Unsupported value: "Never"`},
		{"a constraint twice", args("PodTopologySpread", "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}"), at + `.defaultConstraints[1]: Duplicate value: "{a, DoNotSchedule}"`},
		{"volume timeout", args("VolumeBinding", "{bindTimeoutSeconds: -1}"), at + ".bindTimeoutSeconds: Invalid value: -1"},
		{"volume shape", args("VolumeBinding", "{shape: [{utilization: 0, score: 11}]}"), at + ".shape[0].score: Invalid value: 11: must be from 0 to 10"},
		{"device binding timeout", args("DynamicResources", "{bindingTimeout: 999ms}"), at + ".bindingTimeout: Invalid value"},
		{"device search timeout", args("DynamicResources", "{filterTimeout: -1s}"), at + ".filterTimeout: Invalid value"},
		{"preemption", args("DefaultPreemption", "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}"), at + ".minCandidateNodesAbsolute: Invalid value: 0: must not be 0 where"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestParseTellsAllCauses(t *testing.T) {
	_, _, err := Parse([]byte(header + "parallelism: 0\nunknown: 1\npercentageOfNodesToScore: -5\nprofiles: [{plugins: {score: {enabled: [{name: X}]}}, pluginConfig: [{name: Z}]}]"))
	for _, want := range []string{"parallelism", "unknown: Forbidden", "percentageOfNodesToScore", `"X"`, `"Z"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not told: %v", want, err)
		}
	}
}

// FuzzParse reads anything without a panic, and what it accepts it accepts
// again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(header))
	f.Add([]byte(header + "profiles: [{plugins: {score: {disabled: [{name: '*'}]}}, pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {}}}]}]"))
	f.Add([]byte(header + "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: null}]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, _, err := Parse(data)
		if err != nil {
			return
		}
		if len(config.Profiles) == 0 || config.Profiles[0].SchedulerName == nil {
			t.Errorf("accepted without a profile or its name: %q", data)
		}
		if _, _, err := Parse(data); err != nil {
			t.Errorf("accepted once only: %v", err)
		}
	})
}
