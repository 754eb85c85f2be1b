package store

import (
	"context"

	"navarch.dev/navarch/internal/audittrail"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
)

// noteDecision tells who audits the call how it was decided.
func (s *Store) noteDecision(ctx context.Context, d access.Decision, err error) {
	if !audittrail.Wanted(ctx) {
		return
	}
	noted := map[string]string{audittrail.Decision: "forbid", audittrail.Reason: d.Reason}
	switch {
	case err != nil:
		noted = map[string]string{audittrail.Reason: "internal error"}
	case d.Allowed && !d.Denied:
		noted[audittrail.Decision] = "allow"
	}
	s.sendTrail(ctx, audittrail.Trail{Annotations: noted})
}

// annotations returns what takes the notes about a call, nil if nobody audits
// it.
func annotations(ctx context.Context) *admission.Annotations {
	if !audittrail.Wanted(ctx) {
		return nil
	}
	return &admission.Annotations{}
}

// noteObject tells who audits the call which object the request's body is about.
func (s *Store) noteObject(ctx context.Context, sc scope, obj kinds.Object) {
	if sc.annotations == nil {
		return
	}
	s.sendTrail(ctx, audittrail.Trail{Object: &audittrail.Object{
		Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: string(obj.GetUID()), ResourceVersion: obj.GetResourceVersion(),
	}})
}

// noteAdmission tells who audits the call what was noted as it was admitted.
func (s *Store) noteAdmission(ctx context.Context, sc scope) {
	if noted := sc.annotations.All(); len(noted) > 0 {
		s.sendTrail(ctx, audittrail.Trail{Annotations: noted})
	}
}

func (s *Store) sendTrail(ctx context.Context, t audittrail.Trail) {
	if err := audittrail.Send(ctx, t); err != nil {
		s.tel.Log.ErrorContext(ctx, "what is to be audited of a call could not be told to the gateway", "error", err)
	}
}
