"use client";

import { Dialog as Base } from "@base-ui/react/dialog";
import { X } from "lucide-react";
import { type ReactNode, useState } from "react";
import { Button, IconButton } from "./button";
import { cx } from "./cx";
import { Field, FormError, Input } from "./field";

const SCRIM =
  "fixed inset-0 z-40 bg-scrim transition-opacity duration-(--slow) data-[ending-style]:opacity-0 data-[starting-style]:opacity-0";
const MOVES =
  "transition-[opacity,translate] duration-(--slow) ease-out data-[ending-style]:opacity-0 data-[starting-style]:opacity-0 data-[ending-style]:translate-y-2 data-[starting-style]:translate-y-2";

interface Props {
  open: boolean;
  onClose: () => void;
  /** As the button that opened it. */
  title: string;
  description?: ReactNode;
  children?: ReactNode;
  /** Buttons; the one that acts stands last. */
  footer?: ReactNode;
  /** Something is unsaved: closing asks first. */
  dirty?: boolean;
}

/** One decision: in the middle, on phones a sheet at the bottom. */
export function Dialog(props: Props) {
  return (
    <Modal
      {...props}
      className={cx(
        "inset-x-0 bottom-0 max-h-[92dvh] rounded-t-4 pb-[env(safe-area-inset-bottom)]",
        "md:inset-x-auto md:bottom-auto md:top-[12vh] md:left-1/2 md:max-h-[80dvh] md:w-130 md:-translate-x-1/2 md:rounded-4",
      )}
    />
  );
}

/** Forms and live flows: at the right, on phones a sheet at the bottom. */
export function Drawer(props: Props) {
  return (
    <Modal
      {...props}
      className={cx(
        "inset-x-0 bottom-0 max-h-[94dvh] rounded-t-4",
        "md:inset-y-2 md:right-2 md:left-auto md:max-h-none md:w-120 md:rounded-4",
      )}
    />
  );
}

function Modal({ open, onClose, title, description, children, footer, dirty, className }: Props & { className: string }) {
  const [asks, setAsks] = useState(false);
  const close = () => (dirty ? setAsks(true) : onClose());
  return (
    <Base.Root open={open} onOpenChange={(next) => !next && close()}>
      <Base.Portal>
        <Base.Backdrop className={SCRIM} forceRender />
        <Base.Popup className={cx("floating fixed z-40 flex flex-col bg-raised shadow-high outline-none", MOVES, className)}>
          <div className="pt-5 pr-14 pl-5 md:pl-6">
            <Base.Title className="text-16 font-semibold tracking-title wrap-anywhere">{title}</Base.Title>
            {description && <Base.Description className="mt-1 text-13 text-ink-2">{description}</Base.Description>}
          </div>
          {children && (
            <div className="flex min-h-0 flex-1 flex-col gap-5 overflow-y-auto px-5 pt-4 pb-2 md:px-6">{children}</div>
          )}
          {footer && (
            <div className="flex items-center justify-end gap-2 px-5 pt-4 pb-6 max-md:[&>*]:flex-1 md:px-6 md:pb-5">
              {footer}
            </div>
          )}
          {/* Last, so that the focus goes to the first field or button. */}
          <IconButton label="Close" icon={X} onClick={close} className="absolute top-4 right-3" />
        </Base.Popup>
      </Base.Portal>
      {asks && (
        <Confirm
          open
          onClose={() => setAsks(false)}
          title="Discard changes"
          description="What you have entered here is lost."
          action="Discard changes"
          danger
          onConfirm={() => {
            setAsks(false);
            onClose();
          }}
        />
      )}
    </Base.Root>
  );
}

interface ConfirmProps {
  open: boolean;
  onClose: () => void;
  /** Verb and object: "Stop storefront". */
  title: string;
  /** What will happen, and until when it can be undone. */
  description: ReactNode;
  /** The button's words; usually the title's. */
  action: string;
  danger?: boolean;
  busy?: boolean;
  /** What the server refused; the dialog stays open. */
  problem?: string;
  onConfirm: () => void;
  children?: ReactNode;
}

export function Confirm({
  open,
  onClose,
  title,
  description,
  action,
  danger,
  busy,
  problem,
  onConfirm,
  children,
}: ConfirmProps) {
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title={title}
      description={description}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look={danger ? "danger" : "primary"} busy={busy} onClick={onConfirm}>
            {action}
          </Button>
        </>
      }
    >
      {(children || problem) && (
        <>
          {children}
          <FormError>{problem}</FormError>
        </>
      )}
    </Dialog>
  );
}

/** For what cannot be taken back: the button works once the object's name is typed. */
export function ConfirmByName({
  name,
  what,
  onConfirm,
  children,
  ...rest
}: Omit<ConfirmProps, "danger"> & { name: string /** "project", "organization", "node" */; what: string }) {
  const [typed, setTyped] = useState("");
  const matches = typed.trim() === name;
  const { open, onClose, title, description, action, busy, problem } = rest;
  return (
    <Dialog
      open={open}
      onClose={() => {
        setTyped("");
        onClose();
      }}
      title={title}
      description={description}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            look="danger"
            busy={busy}
            disabled={!matches}
            className="disabled:cursor-not-allowed disabled:opacity-50"
            onClick={onConfirm}
          >
            {action}
          </Button>
        </>
      }
    >
      <form
        className="flex flex-col gap-5"
        onSubmit={(event) => {
          event.preventDefault();
          if (matches && !busy) onConfirm();
        }}
      >
        {children}
        <Field label={`Type the ${what}'s name, ${name}`}>
          <Input
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            autoComplete="off"
            autoCapitalize="off"
            spellCheck={false}
          />
        </Field>
        <FormError>{problem}</FormError>
      </form>
    </Dialog>
  );
}
