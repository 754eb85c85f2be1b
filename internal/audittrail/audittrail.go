// Package audittrail carries what the Store finds out about a request to the
// gateway, which writes the audit log: the decision about it, whom its user acts
// as, and what webhooks and policies want to have noted.
//
// The gateway asks for it by a key in the call's metadata. The Store answers in
// the header of its answer, so that the trail of a refused request arrives too,
// and that of a watch before its events. A Store that records a call itself takes
// the trail from the call's context.
package audittrail

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	authenticationv1 "k8s.io/api/authentication/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
)

const (
	// askKey is what a gateway asks by, answerKey what the Store answers under:
	// one Trail in JSON for each time that it has something to say.
	askKey, answerKey = "navarch-audit", "navarch-audit-bin"
)

// The annotations of every request that was authorized or was not.
const (
	Decision = "authorization.k8s.io/decision"
	Reason   = "authorization.k8s.io/reason"
)

// Trail is a part of what there is to know about a request. What is known of it
// already stays.
type Trail struct {
	Annotations map[string]string `json:"annotations,omitempty"`
	// ImpersonatedUser is whom the user acts as.
	ImpersonatedUser *authenticationv1.UserInfo `json:"impersonatedUser,omitempty"`
	// Object is what the request's body says that it is about.
	Object *Object `json:"object,omitempty"`
}

// Object are the metadata of an object in a request.
type Object struct {
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name,omitempty"`
	UID             string `json:"uid,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

type takerKey struct{}

// NewContext returns a context for whose request a trail is wanted: take gets
// its parts, from any goroutine.
func NewContext(ctx context.Context, take func(Trail)) context.Context {
	return context.WithValue(ctx, takerKey{}, take)
}

// Ask returns a context whose calls of the Store ask for a trail if one is
// wanted, ctx itself if none is.
func Ask(ctx context.Context) context.Context {
	take, ok := ctx.Value(takerKey{}).(func(Trail))
	if !ok {
		return ctx
	}
	ctx = metadata.AppendToOutgoingContext(ctx, askKey, "1")
	return rpc.OnHeader(ctx, func(header metadata.MD) {
		for _, text := range header.Get(answerKey) {
			var t Trail
			if json.Unmarshal([]byte(text), &t) == nil {
				take(t)
			}
		}
	})
}

// Wanted says whether somebody takes a trail of a call: the Store itself, or a
// gateway that asks for it. Others may not.
func Wanted(ctx context.Context) bool {
	if _, ok := ctx.Value(takerKey{}).(func(Trail)); ok {
		return true
	}
	return identity.FromContext(ctx).InGroup(identity.GroupGateways) && len(metadata.ValueFromIncomingContext(ctx, askKey)) > 0
}

// Send hands a part over to whoever wants it. To a gateway that is in the answer's
// header: it must come before a stream's first message.
func Send(ctx context.Context, t Trail) error {
	if take, ok := ctx.Value(takerKey{}).(func(Trail)); ok {
		take(t)
		return nil
	}
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return grpc.SetHeader(ctx, metadata.Pairs(answerKey, string(text)))
}

// UserInfo returns an identity as events and reviews have it.
func UserInfo(id identity.Identity) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: id.Name, UID: id.UID, Groups: id.Groups}
	for key, values := range id.Extra {
		if info.Extra == nil {
			info.Extra = make(map[string]authenticationv1.ExtraValue, len(id.Extra))
		}
		info.Extra[key] = values
	}
	return info
}
