export { HomePage as default } from "@/views/home";
