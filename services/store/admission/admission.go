// Package admission holds the rules that look beyond the object that is
// written: at its namespace, at the classes it names, at who writes it. Each
// rule is a Plugin in a file of its own; NewChain lists them in their order.
//
// A write passes the chain twice. First every plugin may change the object;
// then the kind's own validation sees it; and last every plugin sees what is to
// be stored and may still refuse it. So no rule judges what a later one would
// have changed, and a user whose object is malformed is told that first.
//
// Where webhooks or policies, which the cluster's users have made, change the
// object, every plugin gets a second look at it before it is validated.
package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

// Operation is what a request does.
type Operation string

// The operations.
const (
	Create Operation = "CREATE"
	Update Operation = "UPDATE"
	Delete Operation = "DELETE"
	// Connect opens a stream to something: a shell in a pod, for example.
	Connect Operation = "CONNECT"
)

// Request is a write that asks to be admitted.
type Request struct {
	Operation Operation
	Kind      *kinds.Kind
	Namespace string
	// Name is the object's as the request gives it; empty where the Store makes
	// one up.
	Name string
	// Subresource is empty for the object itself.
	Subresource string
	// ObjectKind is the kind of Object and Old where a subresource has its own
	// (Binding, Scale); the zero value is that of Kind.
	ObjectKind schema.GroupVersionKind
	User       identity.Identity
	// Verb is what the writer asked for: "create", "update", "patch", "apply",
	// "delete" or "bind".
	Verb string
	// Object is what is to be stored; plugins may change it while they mutate.
	// It is nil for a deletion and for a connection.
	Object kinds.Object
	// Old is what is stored; nil for a creation. It must not be changed.
	Old kinds.Object
	// Stream is what a connection is asked for, for example
	// *corev1.PodExecOptions. It must not be changed.
	Stream runtime.Object
	// DryRun says that nothing will be stored.
	DryRun bool
	// Options are the operation's, for example *metav1.CreateOptions.
	Options runtime.Object
	// Judged says that the write is a part of another one that webhooks and
	// policies have seen, or one of the Store's own: they do not see this one.
	Judged bool
	// Rounds is what webhooks and policies that mutate note about the request.
	Rounds Rounds
	// Warnings takes what the user is to be told beside the answer; nil drops
	// it.
	Warnings *Warnings
	// Annotations takes what is to be noted in the audit log; nil drops it.
	Annotations *Annotations
}

// creates says whether the request makes a new object.
func (r *Request) creates() bool { return r.Operation == Create && r.Subresource == "" }

// Title is what errors call the object: by its name or, if it has none yet, by
// what its name will begin with.
func (r *Request) Title() string {
	switch {
	case r.Name != "":
		return r.Name
	case r.Object == nil:
	case r.Object.GetName() != "":
		return r.Object.GetName()
	case r.Object.GetGenerateName() != "":
		return r.Object.GetGenerateName()
	}
	return "Unknown"
}

// Plugin is one rule. Its methods refuse the request with an API error.
type Plugin interface {
	// Mutate may change the request's object.
	Mutate(ctx context.Context, r *Request) error
	// Validate sees the object as it would be stored, and must not change it.
	Validate(ctx context.Context, r *Request) error
}

// noMutation is embedded by plugins that only validate.
type noMutation struct{}

// Mutate implements Plugin.
func (noMutation) Mutate(context.Context, *Request) error { return nil }

// noValidation is embedded by plugins that judge as they mutate.
type noValidation struct{}

// Validate implements Plugin.
func (noValidation) Validate(context.Context, *Request) error { return nil }

// Chain applies plugins in order.
type Chain []Plugin

// NewChain returns the rules that apply, in their order. reader shows what is
// stored.
func NewChain(reader access.Reader, choice Choice) Chain {
	chain := Chain{certificateRequester{}} // a record, not a rule
	for _, rule := range rules(choice) {
		if rule.make != nil && choice.Applies(rule.name) {
			chain = append(chain, rule.make(reader))
		}
	}
	return chain
}

// Mutate implements Plugin.
func (c Chain) Mutate(ctx context.Context, r *Request) error {
	if err := c.mutate(ctx, r); err != nil || !r.Rounds.Changed() {
		return err
	}
	r.Rounds.second = true
	return c.mutate(ctx, r)
}

func (c Chain) mutate(ctx context.Context, r *Request) error {
	for _, p := range c {
		if err := p.Mutate(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// Validate implements Plugin.
func (c Chain) Validate(ctx context.Context, r *Request) error {
	for _, p := range c {
		if err := p.Validate(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
