package expression

import (
	"context"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

var (
	authorizerType    = cel.ObjectType("kubernetes.authorization.Authorizer")
	pathCheckType     = cel.ObjectType("kubernetes.authorization.PathCheck")
	groupCheckType    = cel.ObjectType("kubernetes.authorization.GroupCheck")
	resourceCheckType = cel.ObjectType("kubernetes.authorization.ResourceCheck")
	decisionType      = cel.ObjectType("kubernetes.authorization.Decision")
)

// Question is one to the authorizer.
type Question struct {
	// ServiceAccount, "namespace/name", is asked about instead of the request's
	// user if it is not empty.
	ServiceAccount string
	Verb           string
	// Path is set for what is no resource.
	Path string
	// Group to LabelSelector name a resource.
	Group, Resource, Subresource, Namespace, Name string
	FieldSelector, LabelSelector                  string
}

// Decision is its answer.
type Decision struct {
	Allowed bool
	Reason  string
	Err     error
}

// Authorizer answers what the user of a request may do.
type Authorizer struct {
	// Ask decides.
	Ask func(ctx context.Context, c Question) Decision
	// Request is the resource that the request is about.
	Request Question
	// Context is the request's.
	Context context.Context //nolint:containedctx // an Authorizer is made for one request
}

// checked is a question that is being put together.
type checked struct {
	authorizer *Authorizer
	check      Question
}

func (a *Authorizer) value() ref.Val { return newCheck(authorizerType, a, Question{}) }

func (a *Authorizer) requestResource() ref.Val {
	if a == nil {
		return types.NullValue
	}
	return newCheck(resourceCheckType, a, a.Request)
}

func newCheck(t *types.Type, a *Authorizer, c Question) ref.Val {
	return &opaque{value: checked{a, c}, t: t, equal: func(a, b any) bool { return a.(checked).check == b.(checked).check }}
}

// authorizerFunctions put questions to the authorizer together and ask them.
func authorizerFunctions() []overload {
	set := func(name string, from, to *cel.Type, set func(c *Question, value string)) overload {
		return method(name, to, of2(func(c checked, value string) ref.Val {
			set(&c.check, value)
			return newCheck(to, c.authorizer, c.check)
		}), from, cel.StringType)
	}
	ask := func(c checked, verb string) ref.Val {
		c.check.Verb = verb
		return &opaque{value: c.authorizer.Ask(c.authorizer.Context, c.check), t: decisionType, equal: func(a, b any) bool {
			return a.(Decision).Allowed == b.(Decision).Allowed && a.(Decision).Reason == b.(Decision).Reason
		}}
	}
	return []overload{
		method("path", pathCheckType, of2(func(c checked, path string) ref.Val {
			if strings.TrimSpace(path) == "" {
				return types.NewErr("path must not be empty")
			}
			c.check.Path = path
			return newCheck(pathCheckType, c.authorizer, c.check)
		}), authorizerType, cel.StringType),
		set("group", authorizerType, groupCheckType, func(c *Question, v string) { c.Group = v }),
		method("serviceAccount", authorizerType, func(args ...ref.Val) ref.Val {
			c, ok := args[0].Value().(checked)
			namespace, ok1 := args[1].Value().(string)
			name, ok2 := args[2].Value().(string)
			if !ok || !ok1 || !ok2 {
				return types.MaybeNoSuchOverloadErr(args[0])
			}
			c.check.ServiceAccount = namespace + "/" + name
			return newCheck(authorizerType, c.authorizer, c.check)
		}, authorizerType, cel.StringType, cel.StringType),
		set("resource", groupCheckType, resourceCheckType, func(c *Question, v string) { c.Resource = v }),
		set("subresource", resourceCheckType, resourceCheckType, func(c *Question, v string) { c.Subresource = v }),
		set("namespace", resourceCheckType, resourceCheckType, func(c *Question, v string) { c.Namespace = v }),
		set("name", resourceCheckType, resourceCheckType, func(c *Question, v string) { c.Name = v }),
		set("fieldSelector", resourceCheckType, resourceCheckType, func(c *Question, v string) { c.FieldSelector = v }),
		set("labelSelector", resourceCheckType, resourceCheckType, func(c *Question, v string) { c.LabelSelector = v }),
		method("check", decisionType, of2(ask), resourceCheckType, cel.StringType),
		method("check", decisionType, of2(ask), pathCheckType, cel.StringType),
		method("allowed", cel.BoolType, of1(func(d Decision) ref.Val { return types.Bool(d.Allowed) }), decisionType),
		method("reason", cel.StringType, of1(func(d Decision) ref.Val { return types.String(d.Reason) }), decisionType),
		method("errored", cel.BoolType, of1(func(d Decision) ref.Val { return types.Bool(d.Err != nil) }), decisionType),
		method("error", cel.StringType, of1(func(d Decision) ref.Val {
			if d.Err == nil {
				return types.String("")
			}
			return types.String(d.Err.Error())
		}), decisionType),
	}
}
