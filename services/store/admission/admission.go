// Package admission holds the rules that look beyond the object that is
// written: at its namespace, at the classes it names, at who writes it. Each
// rule is a Plugin in a file of its own; NewChain lists them in their order.
package admission

import (
	"context"
	"slices"

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
)

// Request is a write that asks to be admitted.
type Request struct {
	Operation Operation
	Kind      *kinds.Kind
	Namespace string
	Name      string
	// Subresource is empty for the object itself.
	Subresource string
	User        identity.Identity
	// Object is what is to be stored; plugins may change it. It is nil for a
	// deletion.
	Object kinds.Object
	// Old is what is stored; nil for a creation. It must not be changed.
	Old kinds.Object
}

// Plugin is one rule. It may change the request's object or refuse the request
// with an API error.
type Plugin interface {
	Admit(ctx context.Context, r *Request) error
}

// Chain applies plugins in order.
type Chain []Plugin

// The names of the Store's rules, by which they can be switched off.
const (
	NamespaceLifecycle       = "NamespaceLifecycle"
	ServiceAccount           = "ServiceAccount"
	Priority                 = "Priority"
	DefaultTolerationSeconds = "DefaultTolerationSeconds"
	TaintNodesByCondition    = "TaintNodesByCondition"
	CertificateRestriction   = "CertificateSubjectRestriction"
)

// Names returns the names of all rules, in their order.
func Names() []string {
	return []string{NamespaceLifecycle, ServiceAccount, Priority, DefaultTolerationSeconds, TaintNodesByCondition, CertificateRestriction}
}

// NewChain returns every rule of the Store but those that disabled names.
// reader shows what is stored.
func NewChain(reader access.Reader, disabled []string) Chain {
	plugins := map[string]Plugin{
		NamespaceLifecycle:       namespaceLifecycle{reader},
		ServiceAccount:           serviceAccount{reader},
		Priority:                 podPriority{reader},
		DefaultTolerationSeconds: podTolerations{},
		TaintNodesByCondition:    nodeTaint{},
		CertificateRestriction:   certificateSubject{},
	}
	chain := Chain{certificateRequester{}} // a record, not a rule
	for _, name := range Names() {
		if !slices.Contains(disabled, name) {
			chain = append(chain, plugins[name])
		}
	}
	return chain
}

// Admit implements Plugin.
func (c Chain) Admit(ctx context.Context, r *Request) error {
	for _, p := range c {
		if err := p.Admit(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
