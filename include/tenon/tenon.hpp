/* Tenon for C++17: owning references, scopes and errors as C++ has them. Everything else is the C interface of tenon.h. */
#ifndef TENON_TENON_HPP
#define TENON_TENON_HPP

#include <stdexcept>
#include <utility>

#include <tenon/tenon.h>

namespace tn
{

/* Thrown by check(): what() is tn_last_error(). The error no longer sticks. */
class error : public std::runtime_error
{
  public:
    error(tn_status code, const char *text) : std::runtime_error(text), status(code) {}
    tn_status status;
};

[[noreturn]] inline void throw_last_error()
{
    const char *text = tn_last_error();
    error e(tn_last_status(), text ? text : "a null object, and no error sticks");
    tn_clear_error();
    throw e;
}

/* Gives a pointer back, or throws when it is null; throws when a status is not TN_OK. */
template <class T> T *check(T *object)
{
    if (!object)
        throw_last_error();
    return object;
}
inline void check(tn_status status)
{
    if (status != TN_OK)
        throw_last_error();
}

/* An owning reference: made from what a _new function gave (ref(tn_linear_new(2, 3))) or by keep() from what a scope holds. */
template <class T> class ref
{
  public:
    ref() = default;
    explicit ref(T *owned) : object_(check(owned)) {}
    ref(const ref &other) : object_(tn_retain(other.object_)) {}
    ref(ref &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    ref &operator=(ref other) noexcept
    {
        std::swap(object_, other.object_);
        return *this;
    }
    ~ref() { tn_release(object_); }
    T *get() const { return object_; }
    operator T *() const { return object_; }
    T *operator->() const { return object_; }
    /* Gives the reference away, to a function that takes the caller's. */
    T *release() { return std::exchange(object_, nullptr); }

  private:
    T *object_ = nullptr;
};

/* Takes an object out of the current scope. */
template <class T> ref<T> keep(T *object) { return ref<T>(tn_keep(check(object))); }

/* A scope, or a stretch without recording, that holds as long as the variable. */
class scope
{
  public:
    scope() : scope_(tn_scope_open()) {}
    scope(const scope &) = delete;
    scope &operator=(const scope &) = delete;
    ~scope() { tn_scope_close(&scope_); }

  private:
    tn_scope scope_;
};
class no_grad
{
  public:
    no_grad() : mode_(tn_grad_mode_set(false)) {}
    no_grad(const no_grad &) = delete;
    no_grad &operator=(const no_grad &) = delete;
    ~no_grad() { tn_grad_mode_restore(&mode_); }

  private:
    tn_grad_mode mode_;
};

} // namespace tn

#endif
