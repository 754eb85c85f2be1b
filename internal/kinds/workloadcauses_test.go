package kinds

import (
	"strings"
	"testing"
)

const (
	selects  = "selector: {matchLabels: {a: b}}, "
	template = "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}"
	once     = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}"
)

func TestWorkloads(t *testing.T) {
	const mismatch = "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"
	const short = "template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, activeDeadlineSeconds: 1, containers: [{name: c, image: i}]}}"
	restarts := `spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`
	testCreate(t, gvk("apps/v1", "Deployment"), []bad{
		{"sound", "spec: {" + selects + template + "}", nil},
		{"no selector", "spec: {" + template + "}", []string{"spec.selector: Required value", mismatch}},
		{"an empty selector", "spec: {selector: {}, " + template + "}", []string{"spec.selector: Invalid value: {}: empty selector is invalid for deployment"}},
		{"another selector", "spec: {selector: {matchLabels: {a: c}}, " + template + "}", []string{mismatch}},
		{"a selector without sense", "spec: {selector: {matchExpressions: [{key: a, operator: Is}]}, " + template + "}", []string{
			`spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`,
			`spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Is"}]}: invalid label selector`}},
		{"a selector without sense, and no pods", "spec: {selector: {matchExpressions: [{key: a, operator: Is}]}, template: {spec: {restartPolicy: Never}}}", []string{
			`spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`,
			`spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Is"}]}: invalid label selector`}},
		{"pods that end", "spec: {" + selects + short + "}", []string{restarts, "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"}},
		{"numbers", "spec: {replicas: -1, minReadySeconds: -1, revisionHistoryLimit: -1, progressDeadlineSeconds: -1, " + selects + template + "}", []string{
			"spec.replicas: Invalid value: -1: must be greater than or equal to 0", "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
			"spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0", "spec.progressDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
			"spec.progressDeadlineSeconds: Invalid value: -1: must be greater than minReadySeconds"}},
		{"a strategy", "spec: {strategy: {type: A}, " + selects + template + "}", []string{`spec.strategy: Unsupported value: {"type":"A"}: supported values: "Recreate", "RollingUpdate"`}},
		{"recreating", "spec: {strategy: {type: Recreate, rollingUpdate: {}}, " + selects + template + "}",
			[]string{"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"}},
		{"rolling", "spec: {strategy: {rollingUpdate: {maxUnavailable: 101%, maxSurge: a}}, " + selects + template + "}", []string{
			`spec.strategy.rollingUpdate.maxSurge: Invalid value: "a": a valid percent string must be a numeric string followed by an ending '%'`,
			`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
		{"rolling nowhere", "spec: {strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 0%}}, " + selects + template + "}",
			[]string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"}},
	})
	testUpdate(t, gvk("apps/v1", "Deployment"), false, []change{
		{"another selector", "spec: {" + selects + template + "}", "spec: {selector: {matchLabels: {c: d}}, " + template + "}",
			[]string{`spec.selector: Invalid value: {"matchLabels":{"c":"d"}}: field is immutable`}},
	})
	testUpdate(t, gvk("apps/v1", "Deployment"), true, []change{
		{"counts", "status: {collisionCount: 1}", "status: {replicas: 1, readyReplicas: 1, availableReplicas: 2, unavailableReplicas: -1, collisionCount: 0}", []string{
			"status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
			"status.unavailableReplicas: Invalid value: -1: must be greater than or equal to 0", "status.collisionCount: Invalid value: 0: cannot be decremented"}},
	})
	testCreate(t, gvk("v1", "ReplicationController"), []bad{
		{"nothing", "spec: {}", []string{"spec.selector: Required value", "spec.template: Required value"}},
		{"pods that end", "spec: {" + short + "}", []string{restarts, "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"}},
	})
	const claim = "{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"
	testCreate(t, gvk("apps/v1", "StatefulSet"), []bad{
		{"sound", "spec: {serviceName: s, " + selects + template + "}", nil},
		{"claims that stand in for volumes", "spec: {volumeClaimTemplates: [" + claim + ", " + claim + "], " + selects +
			"template: {metadata: {labels: {a: b}}, spec: {hostname: A, subdomain: B, volumes: [{name: d}], containers: [{name: c, image: i, volumeMounts: [{name: d, mountPath: /d}]}]}}}", nil},
		{"a selector without sense", "spec: {selector: {matchExpressions: [{key: a, operator: Is}]}, template: {spec: {restartPolicy: Never}}}", []string{
			`spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`,
			`spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Is"}]}`, restarts}},
		{"claims of nothing", "spec: {volumeClaimTemplates: [{metadata: {name: d}, spec: {accessModes: [A]}}], " + selects + template + "}", []string{
			`spec.volumeClaimTemplates[0].spec.accessModes: Unsupported value: "A": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`,
			"spec.volumeClaimTemplates[0].spec.resources[storage]: Required value"}},
		{"words", "spec: {podManagementPolicy: A, updateStrategy: {type: B}, persistentVolumeClaimRetentionPolicy: {whenDeleted: C}, serviceName: D, ordinals: {start: -1}, " + selects + template + "}", []string{
			`spec.podManagementPolicy: Invalid value: "A": must be 'OrderedReady' or 'Parallel'`,
			`spec.updateStrategy: Invalid value: {"type":"B"}: must be 'RollingUpdate' or 'OnDelete'`,
			`spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "C": supported values: "Retain", "Delete"`,
			`spec.serviceName: Invalid value: "D": ` + label1123, "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"}},
		{"rolling", "spec: {updateStrategy: {rollingUpdate: {partition: -1, maxUnavailable: 0}}, " + selects + template + "}", []string{
			"spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
			"spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"}},
	})
	testUpdate(t, gvk("apps/v1", "StatefulSet"), false, []change{
		{"another service", "spec: {serviceName: a}", "spec: {serviceName: b, replicas: 3}", []string{`spec.serviceName: Invalid value: "b": field is immutable`}},
		{"other pods", "spec: {selector: {matchLabels: {a: b}}}", "spec: {selector: {matchLabels: {a: b}}, podManagementPolicy: Parallel, minReadySeconds: 3}", []string{
			`spec.podManagementPolicy: Invalid value: "Parallel": field is immutable`}},
	})
	testCreate(t, gvk("apps/v1", "DaemonSet"), []bad{
		{"sound", "spec: {" + selects + template + "}", nil},
		{"no selector", "spec: {" + template + "}", []string{mismatch}},
		{"an empty selector", "spec: {selector: {}, " + template + "}", []string{"spec.selector: Invalid value: {}: empty selector is invalid for daemonset"}},
		{"a strategy", "spec: {updateStrategy: {type: A}, " + selects + template + "}", []string{`spec.updateStrategy: Unsupported value: {"type":"A"}: supported values: "RollingUpdate", "OnDelete"`}},
		{"both ways", "spec: {updateStrategy: {rollingUpdate: {maxSurge: 1}}, " + selects + template + "}",
			[]string{"spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"}},
		{"no way", "spec: {updateStrategy: {rollingUpdate: {maxUnavailable: 0}}, " + selects + template + "}",
			[]string{"spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"}},
	})
}

func TestJobs(t *testing.T) {
	const named = "metadata: {name: j, uid: u}\n"
	testCreate(t, gvk("batch/v1", "Job"), []bad{
		{"sound", named + "spec: {" + once + "}", nil},
		{"pods without end", named + "spec: {template: {spec: {containers: [{name: c, image: i}]}}}",
			[]string{`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
		{"numbers", named + "spec: {parallelism: -1, completions: -1, activeDeadlineSeconds: -1, backoffLimit: -1, ttlSecondsAfterFinished: -1, managedBy: a, completionMode: A, podReplacementPolicy: B, " + once + "}", []string{
			"spec.parallelism: Invalid value: -1: must be greater than or equal to 0", "spec.completions: Invalid value: -1: must be greater than or equal to 0",
			"spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0", "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
			"spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0",
			`spec.managedBy: Invalid value: "a": must be a domain-prefixed path (such as "acme.io/foo")`,
			`spec.completionMode: Unsupported value: "A": supported values: "NonIndexed", "Indexed"`,
			`spec.podReplacementPolicy: Unsupported value: "B": supported values: "Failed", "TerminatingOrFailed"`}},
		{"no indexes", named + "spec: {backoffLimitPerIndex: 1, maxFailedIndexes: 1, successPolicy: {rules: []}, " + once + "}", []string{
			"spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode", "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
			`spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode`}},
		{"indexes", named + "spec: {completionMode: Indexed, parallelism: 100001, maxFailedIndexes: 2, completions: 1, " + once + "}", []string{
			"spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
			"spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
			"spec.maxFailedIndexes: Invalid value: 2: must be less than or equal to completions"}},
		{"very many", named + "spec: {completionMode: Indexed, parallelism: 10001, completions: 100001, backoffLimitPerIndex: 1, " + once + "}", []string{
			"spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
			"spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"}},
		{"success", named + "spec: {completionMode: Indexed, completions: 3, successPolicy: {rules: [{}, {succeededCount: 4}, {succeededCount: 2, succeededIndexes: '1'}, {succeededIndexes: '2-1'}]}, " + once + "}", []string{
			"spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
			"spec.successPolicy.rules[1].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)",
			"spec.successPolicy.rules[2].succeededCount: Invalid value: 2: must be less than or equal to 1 (the number of indexes in the specified succeededIndexes field)",
			`spec.successPolicy.rules[3].succeededIndexes: Invalid value: "2-1": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1`}},
		{"failure", named + "spec: {podFailurePolicy: {rules: [{}, {action: FailIndex, onExitCodes: {containerName: d, operator: In, values: [1, 0, 0]}}, {action: Ignore, onPodConditions: [{type: 'a b', status: A}]}]}, " + once + "}", []string{
			`spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]`,
			"spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
			`spec.podFailurePolicy.rules[1].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set`,
			`spec.podFailurePolicy.rules[1].onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in the pod template`,
			"spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
			"spec.podFailurePolicy.rules[1].onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator",
			"spec.podFailurePolicy.rules[1].onExitCodes.values[2]: Duplicate value: 0",
			"spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [1,0,0]: must be ordered",
			`spec.podFailurePolicy.rules[2].onPodConditions[0].type: Invalid value: "a b": name part`,
			`spec.podFailurePolicy.rules[2].onPodConditions[0].status: Unsupported value: "A": supported values: "False", "True", "Unknown"`}},
	})
	const begun = "metadata: {name: j, uid: u}\nstatus: {startTime: '2026-01-01T00:00:00Z'}\nspec: {selector: {matchLabels: {a: b}}, "
	podOf := func(image, more string) string {
		return `"spec":{"containers":[{"name":"c","image":"` + image + `","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}],` +
			`"restartPolicy":"Never","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst",` + more + `"securityContext":{},"schedulerName":"default-scheduler"}`
	}
	const rests = "metadata: {name: j, uid: u}\nstatus: {startTime: '2026-01-01T00:00:00Z', active: 0, conditions: [{type: Suspended, status: 'True'}]}\nspec: {suspend: true, selector: {matchLabels: {a: b}}, " + once + "}"
	testUpdate(t, gvk("batch/v1", "Job"), false, []change{
		{"much", begun + "completions: 1, completionMode: NonIndexed, " + once + "}", begun + "completions: 2, completionMode: Indexed, parallelism: 1, backoffLimitPerIndex: 1, managedBy: a/b, " + once + "}", []string{
			"spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism",
			`spec.completionMode: Invalid value: "Indexed": field is immutable`,
			"spec.backoffLimitPerIndex: Invalid value: 1: field is immutable", `spec.managedBy: Invalid value: "a/b": field is immutable`}},
		{"more at once", begun + "parallelism: 1, " + once + "}", begun + "parallelism: 2, " + once + "}", nil},
		{"where suspended pods will run", "spec: {suspend: true, " + once + "}", "spec: {suspend: true, template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {a: b}, restartPolicy: Never, containers: [{name: c, image: i}]}}}", nil},
		{"where pods will run that were suspended", rests, strings.Replace(rests, "image: i", "image: i, resources: {limits: {cpu: 1}}", 1), nil},
		{"where pods run", strings.Replace(rests, "active: 0", "active: 1", 1), strings.Replace(rests, "spec: {restart", "spec: {nodeSelector: {a: b}, restart", 1), []string{
			`spec.template: Invalid value: {"metadata":{},` + podOf("i", `"nodeSelector":{"a":"b"},`) + "}: field is immutable"}},
		{"what suspended pods will run", rests, strings.Replace(rests, "image: i", "image: j", 1), []string{
			strings.Replace("spec.template.spec: Invalid value: "+podOf("j", "")+": field is immutable", `"spec":`, "", 1)}},
	})
	const manual = begun + "manualSelector: true, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}"
	testUpdate(t, gvk("batch/v1", "Job"), false, []change{ // the labels are judged when a job is made
		{"a selector that is no longer by hand", manual, strings.Replace(manual, "manualSelector: true, ", "", 1), nil},
	})
	cron := func(schedule string) string {
		return "spec: {schedule: '" + schedule + "', jobTemplate: {spec: {" + once + "}}}"
	}
	testCreate(t, gvk("batch/v1", "CronJob"), []bad{
		{"sound", cron("*/5 1-3 * jan mon-fri"), nil},
		{"no schedule", cron(""), []string{"spec.schedule: Required value"}},
		{"too few fields", cron("* *"), []string{`spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: [* *]`}},
		{"minutes", cron("61 * * * *"), []string{`spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61`}},
		{"a word", cron("@never"), []string{`spec.schedule: Invalid value: "@never": unrecognized descriptor: @never`}},
		{"no number", cron("a * * * *"), []string{`spec.schedule: Invalid value: "a * * * *": failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax`}},
		{"a zone in it", cron("TZ=UTC * * * * *"), []string{`spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead`}},
		{"the rest", "metadata: {name: a234567890b234567890c234567890d234567890e234567890f23}\nspec: {schedule: '@daily', timeZone: Local, concurrencyPolicy: A, startingDeadlineSeconds: -1, successfulJobsHistoryLimit: -1, failedJobsHistoryLimit: -1, jobTemplate: {spec: {selector: {}, manualSelector: true, " + once + "}}}", []string{
			`metadata.name: Invalid value: "a234567890b234567890c234567890d234567890e234567890f23": must be no more than 52 characters`,
			`spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones`,
			`spec.concurrencyPolicy: Unsupported value: "A": supported values: "Allow", "Forbid", "Replace"`,
			"spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
			"spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0", "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
			"spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
			`spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"`}},
	})
}
