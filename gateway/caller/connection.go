package caller

import (
	"context"
	"crypto/x509"
	"net"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/identity"
)

// connection remembers who the certificate of a connection names: it is the
// same in all of its requests.
type connection struct {
	last atomic.Pointer[holder]
}

// holder is who a certificate names.
type holder struct {
	certificate *x509.Certificate
	caller      Caller
}

type connectionKey struct{}

// ConnContext is an http.Server's ConnContext.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, new(connection))
}

// certified returns whom a verified certificate names. What it returns is
// shared by the requests of a connection.
func certified(ctx context.Context, certificate *x509.Certificate) (Caller, error) {
	conn, ok := ctx.Value(connectionKey{}).(*connection)
	if ok {
		if h := conn.last.Load(); h != nil && h.certificate == certificate {
			return h.caller, nil
		}
	}
	id := identity.FromCertificate(certificate)
	if id.Name == "" {
		return Caller{}, apierrors.NewUnauthorized("the client certificate names nobody")
	}
	id.Extra = map[string][]string{identity.ExtraCredential: {identity.CertificateID(certificate)}}
	c := known(id)
	if ok {
		conn.last.Store(&holder{certificate: certificate, caller: c})
	}
	return c, nil
}
