package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	reviewv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The keys of what is noted for the audit log about hooks.
const (
	mutationPrefix = "mutation.webhook.admission.k8s.io/"
	// patchPrefix is that of patches, which are for logs that have objects too.
	patchPrefix = "patch.webhook.admission.k8s.io/"
	// validationKey has the hook's number among those that were asked.
	validationKey = "validating.webhook.admission.k8s.io/round_0_index_%d"
	// failedOpen is before the keys of hooks that could not be asked, and whose
	// failures are ignored.
	failedOpen = "failed-open."
)

// place is when a mutating hook is asked: in which round, as the nth of all.
type place struct{ round, n int }

func (p place) key(prefix string) string {
	return fmt.Sprintf("%sround_%d_index_%d", prefix, p.round, p.n)
}

// noteMutation notes whether a hook changed the object.
func (i *invocation) noteMutation(at place, changed bool) {
	i.note(at.key(mutationPrefix), struct {
		Configuration string `json:"configuration"`
		Webhook       string `json:"webhook"`
		Mutated       bool   `json:"mutated"`
	}{i.hook.configuration, i.hook.spec.Name, changed})
}

// notePatch notes how.
func (i *invocation) notePatch(at place, patch []byte) {
	i.note(at.key(patchPrefix), struct {
		Configuration string             `json:"configuration"`
		Webhook       string             `json:"webhook"`
		Patch         json.RawMessage    `json:"patch"`
		PatchType     reviewv1.PatchType `json:"patchType"`
	}{i.hook.configuration, i.hook.spec.Name, patch, reviewv1.PatchTypeJSONPatch})
}

func (i *invocation) note(key string, value any) {
	if !i.request.Annotations.Wanted() {
		return
	}
	if text, err := json.Marshal(value); err == nil { // a patch that was applied is JSON
		i.request.Annotations.Add(key, string(text))
	}
}

// takeNotes takes what a hook wants to have noted, under its name.
func (i *invocation) takeNotes(ctx context.Context, annotations map[string]string) {
	for key, value := range annotations {
		key = i.hook.spec.Name + "/" + key
		if why := validation.IsQualifiedName(key); len(why) > 0 {
			i.log.WarnContext(ctx, "a webhook's audit annotation is dropped, whose key is invalid", "webhook", i.hook.spec.Name, "key", key, "error", strings.Join(why, "; "))
			continue
		}
		i.request.Annotations.Add(key, value)
	}
}
