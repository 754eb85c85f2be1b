// Package auth decides about the Store's callers: who a token belongs to, what
// each may do, and what the review kinds answer.
//
// An agent is asked about by the Node authorizer (package node), everybody by
// RBAC (package rbac); either may allow a call. Service account tokens are
// issued and verified by package token. New puts them together as the
// access.Control that the Store asks.
package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/auth/node"
	"navarch.dev/navarch/services/store/auth/rbac"
	"navarch.dev/navarch/services/store/auth/token"
)

// Config is what an administrator decides.
type Config struct {
	// Tokens are the settings of service account tokens. Without keys none are
	// issued.
	Tokens token.Settings
	// Static are fixed bearer tokens; nil for none.
	Static token.Static
	// BootstrapTokens lets the Secrets of type bootstrap.kubernetes.io/token in.
	BootstrapTokens bool
	// Now is the time by which tokens end; nil is the system's.
	Now func() time.Time
}

// DefaultConfig returns the settings of a cluster without static tokens. The
// keys are the caller's to add.
func DefaultConfig() Config {
	return Config{Tokens: token.Settings{Issuers: []string{token.DefaultIssuer}, Extend: true}, BootstrapTokens: true}
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error { return c.Tokens.Validate() }

// audiences are the cluster's own.
func (c Config) audiences() []string {
	if len(c.Tokens.Audiences) > 0 {
		return c.Tokens.Audiences
	}
	return c.Tokens.Issuers
}

// Bootstrap returns the roles and bindings that a cluster starts with.
func Bootstrap() []kinds.Object { return rbac.Bootstrap() }

// New returns a function that makes the Store's access control, once the
// Store has a reader to decide by.
func New(cfg Config) func(access.Reader) (access.Control, error) {
	return func(reader access.Reader) (access.Control, error) { return newControl(cfg, reader) }
}

func newControl(cfg Config, reader access.Reader) (access.Control, error) {
	if err := cfg.Validate(); err != nil {
		return access.Control{}, err
	}
	roles := rbac.New(reader)
	authorizer := union{node.New(reader, agentRules(rbac.NodeRules())), roles}
	control := access.Control{
		Authorizer:   authorizer,
		Impersonator: impersonator{authorizer},
		Guard:        guard{authorizer, roles, node.NewGuard(reader, authorizer)},
		Mend:         rbac.Mend,
	}
	authenticators, err := newAuthenticators(cfg, reader, &control)
	if err != nil {
		return access.Control{}, err
	}
	if len(authenticators) > 0 {
		control.Authenticator = authenticators
	}
	control.Reviewer = reviewer{authorizer: authorizer, roles: roles, authenticators: authenticators, audiences: cfg.audiences()}
	return control, nil
}

// newAuthenticators returns those who know bearer tokens. The one that knows
// service accounts' also issues and documents them.
func newAuthenticators(cfg Config, reader access.Reader, control *access.Control) (chain, error) {
	var authenticators chain
	own := func(a access.Authenticator) {
		authenticators = append(authenticators, token.Own{Authenticator: a, Audiences: cfg.audiences()})
	}
	if len(cfg.Static) > 0 {
		own(cfg.Static)
	}
	if cfg.BootstrapTokens {
		own(token.NewBootstrap(reader, cfg.Now))
	}
	if len(cfg.Tokens.Keys) == 0 {
		return authenticators, nil
	}
	accounts, err := token.NewServiceAccounts(reader, cfg.Tokens, cfg.Now)
	if err != nil {
		return nil, fmt.Errorf("set up service account tokens: %w", err)
	}
	control.TokenIssuer = accounts
	if control.Documents, err = accounts.Documents(); err != nil {
		return nil, fmt.Errorf("set up service account tokens: %w", err)
	}
	return append(authenticators, accounts), nil
}

// union asks one authorizer after the other until one decides.
type union []access.Authorizer

// Authorize implements access.Authorizer. An authorizer that cannot tell does
// not keep the next from allowing the call; if none does, the error is told.
func (u union) Authorize(ctx context.Context, a access.Attributes) (access.Decision, error) {
	var failed error
	var reason string
	for _, z := range u {
		d, err := z.Authorize(ctx, a)
		failed = errors.Join(failed, err)
		if err == nil && (d.Allowed || d.Denied) {
			return d, nil
		}
		if reason == "" {
			reason = d.Reason
		}
	}
	return access.Decision{Reason: reason}, failed
}

// agentRules allow agents what they may all do.
type agentRules []rbacv1.PolicyRule

// Authorize implements access.Authorizer.
func (rules agentRules) Authorize(_ context.Context, a access.Attributes) (access.Decision, error) {
	if rbac.Allow(rules, a) {
		return access.Decision{Allowed: true, Reason: "every node may"}, nil
	}
	return access.Decision{}, nil
}

// chain asks one authenticator after the other whose a token is.
type chain []access.Authenticator

// AuthenticateToken implements access.Authenticator.
func (c chain) AuthenticateToken(ctx context.Context, raw string, audiences []string) (identity.Identity, bool, error) {
	var failed error
	for _, a := range c {
		id, ok, err := a.AuthenticateToken(ctx, raw, audiences)
		if ok && err == nil {
			return id, true, nil
		}
		failed = errors.Join(failed, err)
	}
	return identity.Identity{}, false, failed
}

// guard looks at what is written.
type guard struct {
	authorizer access.Authorizer
	roles      *rbac.Authorizer
	nodes      *node.Guard
}

// CheckWrite implements access.Guard.
func (g guard) CheckWrite(ctx context.Context, w access.Write) error {
	if err := g.nodes.CheckWrite(ctx, w); err != nil {
		return err
	}
	if err := g.checkSigner(ctx, w); err != nil {
		return err
	}
	return g.roles.CheckEscalation(ctx, w.User, w.Object, w.Old)
}
