package kinds

import "testing"

// TestJobStatuses: what whoever controls a job may say of it.
func TestJobStatuses(t *testing.T) {
	const (
		begun   = "startTime: '2026-01-01T01:00:00Z'"
		over    = "completionTime: '2026-01-01T02:00:00Z'"
		done    = "{type: SuccessCriteriaMet, status: 'True'}, {type: Complete, status: 'True'}"
		given   = "{type: FailureTarget, status: 'True'}, {type: Failed, status: 'True'}"
		indexed = "spec: {completionMode: Indexed, completions: 5, parallelism: 5, backoffLimitPerIndex: 1}\n"
		plain   = "spec: {completions: 5, parallelism: 2}\n"
	)
	status := func(fields string) string { return "status: {" + fields + "}" }
	testUpdate(t, gvk("batch/v1", "Job"), true, []change{
		{"at work", plain + status(begun), plain + status(begun+", active: 2, ready: 1, succeeded: 1, uncountedTerminatedPods: {succeeded: [a], failed: [b]}"), nil},
		{"complete", plain + status(begun), plain + status(begun+", "+over+", succeeded: 5, conditions: ["+done+"]"), nil},
		{"failed", plain + status(begun), plain + status(begun+", failed: 5, conditions: ["+given+"]"), nil},
		{"counts", plain + "status: {}", plain + "status: {active: -1, ready: -1, terminating: -1, succeeded: -1, failed: -1, uncountedTerminatedPods: {succeeded: [a, ''], failed: [a]}}", []string{
			"status.active: Invalid value: -1: must be greater than or equal to 0", "status.ready: Invalid value: -1: must be greater than or equal to 0",
			"status.terminating: Invalid value: -1: must be greater than or equal to 0", "status.succeeded: Invalid value: -1: must be greater than or equal to 0",
			"status.failed: Invalid value: -1: must be greater than or equal to 0", `status.uncountedTerminatedPods.succeeded[1]: Invalid value: "": must not be empty`,
			`status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"`, "status.failed: Invalid value: -1: cannot decrease the failed counter",
			"status.succeeded: Invalid value: -1: cannot decrease the succeeded counter"}},
		{"all ends at once", plain + status(begun), plain + status(begun+", "+over+", conditions: ["+done+", "+given+"]"), []string{
			"status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions", "status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions",
			"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions",
			"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"}},
		{"ends that nothing led to", plain + status(begun), plain + status(begun+", conditions: [{type: Complete, status: 'True'}]"), []string{
			"status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
			"status.completionTime: Required value: completionTime is required for Complete jobs"}},
		{"a failure that nothing led to", plain + status(begun), plain + status(begun+", conditions: [{type: Failed, status: 'True'}]"), []string{
			"status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"}},
		{"times", plain + "status: {}", plain + "status: {startTime: '2026-01-01T01:00:00Z', completionTime: '2026-01-01T00:00:00Z'}", []string{
			`status.completionTime: Invalid value: "2026-01-01T00:00:00Z": cannot set completionTime when there is no Complete=True condition`,
			"status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": must be equal to or after `startTime`"}},
		{"other times", plain + status(begun+", "+over+", conditions: ["+done+"]"), plain + status("startTime: '2026-01-01T01:00:01Z', completionTime: '2026-01-01T02:00:01Z', conditions: ["+done+"]"), []string{
			`status.completionTime: Invalid value: "2026-01-01T02:00:01Z": field is immutable`,
			`status.startTime: Invalid value: "2026-01-01T01:00:01Z": field is immutable for unsuspended job once set`}},
		{"a start anew", plain + status(begun+", conditions: [{type: Suspended, status: 'True'}]"), plain + "status: {startTime: '2026-01-01T03:00:00Z', conditions: [{type: Suspended, status: 'False'}]}", nil},
		{"what goes on after the end", plain + "status: {}", plain + status(over+", active: 1, ready: 2, terminating: 1, uncountedTerminatedPods: {failed: [a]}, conditions: ["+done+"]"), []string{
			"status.ready: Invalid value: 2: cannot set more ready pods than active", "status.active: Invalid value: 1: active>0 is invalid for finished job",
			"status.startTime: Required value: startTime is required for finished job", "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
			`status.uncountedTerminatedPods: Invalid value: {"failed":["a"]}: must be empty for finished job`}},
		{"what was wrong before", plain + status(begun+", ready: 2"), plain + status(begun+", ready: 2, succeeded: 1"), nil},
		{"fewer than before", plain + "status: {succeeded: 2, failed: 2}", plain + "status: {succeeded: 1, failed: 1}", []string{
			"status.failed: Invalid value: 1: cannot decrease the failed counter", "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter"}},
		{"a job that shrinks", indexed + "status: {succeeded: 2}", indexed + "status: {succeeded: 1}", nil},
		{"ends taken back", plain + status(begun+", "+over+", conditions: ["+done+"]"), plain + status(begun), []string{
			"status.conditions: Invalid value: cannot disable the terminal Complete=True condition", "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"}},
		{"indexes", indexed + "status: {}", indexed + "status: {completedIndexes: '0,2-3', failedIndexes: '1,4'}", nil},
		{"indexes that are none", indexed + "status: {}", indexed + "status: {completedIndexes: 'a', failedIndexes: '5'}", []string{
			`status.completedIndexes: Invalid value: "a": error parsing completedIndexes: cannot convert string to integer for index: "a"`,
			`status.failedIndexes: Invalid value: "5": error parsing failedIndexes: too large index: "5"`}},
		{"indexes that did both", indexed + "status: {}", indexed + "status: {completedIndexes: '0,2-4', failedIndexes: 'x,1,3'}", []string{
			`status.failedIndexes: Invalid value: "x,1,3": error parsing failedIndexes: cannot convert string to integer for index: "x"`,
			`status.failedIndexes: Invalid value: "x,1,3": failedIndexes and completedIndexes overlap at index: 3`}},
		{"indexes of a job without any", plain + "status: {}", plain + "status: {completedIndexes: '1', failedIndexes: '2'}", []string{
			`status.completedIndexes: Invalid value: "1": cannot set non-empty completedIndexes when non-indexed completion mode`,
			`status.failedIndexes: Invalid value: "2": cannot set non-null failedIndexes when backoffLimitPerIndex is null`}},
	})
}
